"""What tests of pages are served from: a folder as it is, or a server with users of every role."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.passwords import CHEAP
from tests.running import CheapServer

from imageserver.accounts.database import UserDB


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the files of a folder are."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_users(data: Path) -> CheapServer:
    """A server with `-a`, and a user of each role, who is called as the role is, and so is the password."""
    users = UserDB(data / "users.db", CHEAP)
    for name in ("camera", "viewer", "admin"):
        users.add(name, name, [name])
    return CheapServer("-a", data=data)
