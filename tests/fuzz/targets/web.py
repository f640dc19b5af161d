"""Requests as HTTP applications take them: paths, what is accepted, and the form by which pages log in."""

from __future__ import annotations

import contextlib
import io
import json
import urllib.parse
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.fuzz.target import Defect, Target
from tests.fuzz.targets.headers import environ_of

from imageserver.accounts.database import UserDB
from imageserver.accounts.doors import HTTP, Door, DoorTable, Login
from imageserver.accounts.login import Logins
from imageserver.errors import Refused
from imageserver.limits import Limits
from imageserver.protocols.http import v2
from imageserver.protocols.http.login import PageLogins
from imageserver.protocols.snap.app import Number
from imageserver.protocols.snap.relay import MAX_ROOM
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request, Response, answer

PATHS = ("/", "/snippets/<number:identity>/", f"/ws/<string(maxlength={MAX_ROOM}):room>", "/<model>/classify")
METHODS = ("GET", "PUT")
LOG: list[str] = []


def _view(request: Request, **found: Any) -> Response:
    """What the router made of a path."""
    with contextlib.suppress(Refused):
        length = v2._head(request)
        if length and not 0 < length < 10**9:
            raise Defect(f"{length} bytes of JSON")
    return answer({"found": found, "page": request.wants_page, "camera": request.camera})


_DOORS = DoorTable(Door(HTTP, method, path, login=Login.NEVER) for path in PATHS for method in METHODS)
_ACCESS = Access(Logins(UserDB(None), Limits(), required=False, log=LOG.append), Limits(), _DOORS)
APPLICATION = Application(
    [Route(method, path, _view) for path in PATHS for method in METHODS],
    _ACCESS,
    log=LOG.append,
    converters={"number": Number},
)


def routed(data: bytes) -> None:
    """A request: the path before a line end, then as `headers.environ_of` has it."""
    target, _, rest = data.partition(b"\n")
    path, _, query = target.partition(b"?")
    environ = environ_of(rest) | {
        "PATH_INFO": urllib.parse.unquote_to_bytes(path).decode("latin-1"), "wsgi.input": io.BytesIO(b""),
    }  # fmt: skip
    environ["QUERY_STRING"] = query.decode("latin-1")
    said: list[Any] = []
    body = b"".join(APPLICATION(environ, lambda *what: said.append(what)))  # type: ignore[arg-type]
    if LOG or len(said) != 1:
        raise Defect(f"it failed: {LOG} {said}")
    status, headers = said[0]
    if status[:3] not in ("200", "204", "308", "400", "403", "404", "405", "415"):
        raise Defect(f"answered with {status}")
    if any("\r" in value or "\n" in value for _name, value in headers):
        raise Defect(f"a header of two lines: {headers!r}")
    if status[:3] == "200" and environ["REQUEST_METHOD"] != "HEAD":
        room = json.loads(body)["found"].get("room", "")
        if len(room) > MAX_ROOM or "/" in room:
            raise Defect(f"a room {room!r}")
    elif len(body) > 600 + 6 * len(data):
        raise Defect(f"an answer of {len(body)} bytes")


def form(data: bytes) -> None:
    """What a page sends to log in."""
    environ = environ_of(b"POST") | {"wsgi.input": io.BufferedReader(io.BytesIO(data))}
    request = Request(environ, populate_request=False)
    request.most = 2**16
    login: Any = SimpleNamespace()
    with contextlib.suppress(Refused):
        found = PageLogins._form(login, request)
        if not all(isinstance(name, str) for name in found):
            raise Defect(f"{found!r}")
        if data[:1] != b"{" and found != dict(urllib.parse.parse_qsl(data.decode(), keep_blank_values=True)):
            raise Defect(f"{found!r} is otherwise by the standard library")


def some_request(random: Random) -> bytes:
    words = (
        "snippets",
        "1",
        "99999999999999999999",
        "-1",
        "ws",
        "a" * 65,
        "%2f",
        "..",
        "",
        "lenet",
        "classify",
        "%00",
        "é",
        "%ff",
    )
    path = "/" + "/".join(random.choices(words, k=random.choice((0, 1, 2, 2, 3))))
    lines = [
        path + random.choice(("", "?name=a", "?name=%ff")),
        random.choice(("GET", "PUT", "HEAD", "DELETE", "OPTIONS")),
    ]
    values = {
        "Accept": ("text/html", "text/html;q=0", "*/*", "text/html; q=0.0, a"),
        "Content-Type": ("image/png", "text/html; a"),
        v2.HEADER: ("5", "0", "-1", "9999999999", "\u0663"),
        "Origin": ("http://evil.example",), "Host": ("localhost",), "Access-Control-Request-Method": ("PUT",),
    }  # fmt: skip
    lines += [f"{name}: {random.choice(choices)}" for name, choices in values.items() if random.random() < 0.4]
    return "\n".join(lines).encode("latin-1", "replace")


TARGETS = [
    Target(
        name="web-requests",
        run=routed,
        seeds=(
            b"/snippets/1/\nGET http a\nAccept: text/html;q=0", b"/ws/kitchen?name=a\nGET",
            b"/lenet/classify\nPUT\nAccept: */*",
            b"/\nOPTIONS\nOrigin: http://localhost\nHost: localhost\nAccess-Control-Request-Method: PUT",
            b"//a/../%2f\nDELETE",
        ),
        covers=("web.application", "web.requests", "web.access", "protocols.snap.app", "protocols.http.v2"),
        words=(b"/", b"%2f", b"%00", b"\nAccept: ", b"text/html", b";q=0", b"..", b"snippets", b"?name="),
        shape=some_request, longest=2**13,
        seconds=0.02, byte_seconds=1e-5, byte_memory=200,
    ),
    Target(
        name="page-login",
        run=form,
        seeds=(b"user=anna&password=secret", b'{"user":"anna","password":"a"}', b"user=%ff&user=\xff", b"a=b&" * 20),
        covers=("protocols.http.login",),
        words=(b"&", b"=", b"%", b"user=", b"{", b'"'), longest=2**16, byte_memory=300,
    ),
]  # fmt: skip
