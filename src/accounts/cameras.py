"""Names of cameras: what clients call theirs, and which of these a user may be bound to (`--only`). Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from imageserver.errors import NotAllowed

MAX_CAMERA = 64
"""Characters."""

_LONGEST = MAX_CAMERA * 12
"""Of a name in a query, where a character may have four bytes, and a byte three characters."""
_SAID = re.compile("(?:^|&)name=([^&]*)")
"""Looked for alone: to take a query of thousands of fields apart would hold the loop for milliseconds."""
_ROUTES = re.compile(r"events|.*\.(?:jpg|mjpeg|json)|\.{1,2}|session-[0-9]+", re.DOTALL)
"""What stands, or might stand, for something else below /streams/; browsers and proxies take dots as steps."""
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, ends of lines, changes of the direction of writing, halves of surrogate pairs."""


def said(query: str) -> str:
    """The name of a camera in the query of a request, `name=front%20door`; "" where there is none.

    Args:
        query: As WSGI has it, in latin-1.

    Raises:
        NotAllowed: It cannot be the name of a camera.
    """
    found = _SAID.search(query)
    if found is None:
        return ""
    encoded = found[1].replace("+", " ").encode("latin-1", "replace")
    if len(encoded) > _LONGEST:
        raise _refused(found[1])
    return checked(unquote_to_bytes(encoded).decode("utf-8", "replace"))


def checked(name: str) -> str:
    """`name` as it is kept and compared: composed (é is one character), without spaces at its ends; NotAllowed."""
    if len(name) <= MAX_CAMERA and not _CONTROLS.search(name):  # measured first: composing is slow
        composed = unicodedata.normalize("NFC", name).strip()
        if is_route(composed):
            raise NotAllowed(f"{composed!r} cannot be the name of a camera: it stands for something else at /streams/")
        if len(composed) <= MAX_CAMERA:
            return composed
    raise _refused(name)


def is_route(name: str) -> bool:
    """Whether a name would be taken for a route under /streams/, or for an id."""
    return _ROUTES.fullmatch(name) is not None


def of_user(only: Sequence[str], own: str, camera: str) -> str:
    """Under which name pictures of a user count who said this one.

    Args:
        only: The cameras that the user is bound to, none: to all.
        own: What the user's camera is called, "" where that is not set.
        camera: The name, "" where none was said: then it is the user's own, or the first of `only`.

    Raises:
        NotAllowed: The user is bound to others.
    """
    if camera and only and camera not in only:
        raise NotAllowed(f"there is no camera {camera!r}")
    return camera or own or next(iter(only), "")


def _refused(name: str) -> NotAllowed:
    """What to say of a text that is no name of a camera."""
    shown = repr(name) if len(name) <= MAX_CAMERA else f"{name[:MAX_CAMERA]!r}… ({len(name)} characters)"
    return NotAllowed(f"{shown} cannot be the name of a camera: it takes at most {MAX_CAMERA} characters, no controls")
