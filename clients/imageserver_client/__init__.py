"""A camera of ImageServer as a library: `from imageserver_client import Camera`; docs/clients/python.md shows it.

errors      what can go wrong: one tree
connection  an address, whom to believe over HTTPS, and why there is no connection
camera      the camera
"""

from typing import Any

from imageserver_client.connection import Token as Token
from imageserver_client.connection import Trust as Trust
from imageserver_client.errors import ClientError as ClientError
from imageserver_client.errors import Refused as Refused
from imageserver_client.errors import Unreachable as Unreachable
from imageserver_client.errors import Wrong as Wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from imageserver_client.camera import Camera as Camera
    from imageserver_client.camera import Result as Result
    from imageserver_client.camera import State as State


def __getattr__(name: str) -> Any:
    """The camera when it is asked for, since errors and connections need nothing but Python."""
    if name not in ("Camera", "Result", "State"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from imageserver_client import camera

    return getattr(camera, name)
