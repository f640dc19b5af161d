"""Every door of the server in one table: who may, how often, how large, and whether pages of other origins may.

A door is a method and path of HTTP, an event of Socket.IO, or a command of legacy TCP. The routers (web/, protocols/
events/, protocols/legacy_tcp/) ask this table and refuse to start with a door that is not in it; docs/users.md is
written from it by `make docs`; tests/accounts/ walks all that exist.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from imageserver.accounts.audit import AuditEvent
from imageserver.accounts.database import User

CAMERA, VIEWER, ADMIN = "camera", "viewer", "admin"

HTTP, EVENT, COMMAND = "HTTP", "Socket.IO", "legacy TCP"


class Login(enum.Enum):
    """Of whom a door asks a login."""

    NEVER = "nobody"
    AUTH = "all, with `-a`"
    USERS = "all, with `-a` and once there is or was a user"
    PROGRAMS = "all but browsers that want a page, with `-a` and once there is or was a user"
    ALWAYS = "all; without users nobody gets in"
    SESSION = "all, with `-a` or `--session-key`, which is as good as a user"
    KEY = "all, with `--tcp-authorized-keys`: a signature of one of them"


@dataclass(frozen=True, slots=True)
class Door:
    """A row of the table.

    Attributes:
        protocol: HTTP, EVENT or COMMAND.
        method: of HTTP; "" for others.
        path: as a route writes it, `/snippets/<number:identity>/`; of others the name.
        login: of whom a login is asked.
        roles: whoever logged in needs one of them, asked or not; empty: any login will do.
        changes: whether it changes something, so that no page of another site may bring it about.
        rate: the setting (a field of Limits) that says how often in a minute one user or address may; "": any number.
        body: the setting that bounds what is sent in; "": nothing is read.
        foreign: whether pages of `--cors-origin` may use it too.
        lasts: whether it begins what goes on for long, a connection or a training: a server that leaves begins none.
        note: what else holds, for docs/users.md.
        event: what the audit notes when somebody has passed; "": nothing, or more than is known here.
    """

    protocol: str
    method: str
    path: str
    login: Login
    roles: frozenset[str] = frozenset()
    changes: bool = False
    rate: str = ""
    body: str = ""
    foreign: bool = True
    lasts: bool = False
    note: str = ""
    event: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What no two rows have in common."""
        return self.protocol, self.method, self.path

    @property
    def name(self) -> str:
        """What people call it: `PUT /snippets/<number:identity>/`, `receiveImage`, `PRED`."""
        return f"{self.method} {self.path}".strip()

    def refuses(self, user: User | None) -> str:
        """The sentence for somebody who lacks the role; "" for whoever has it, and for nobody."""
        if user is None or not self.roles or user.roles & self.roles:
            return ""
        return f"this takes a user with the role {' or '.join(role for role in _ROLES if role in self.roles)}"


_ROLES = (CAMERA, VIEWER, ADMIN)
_MODEL = "/<model:name>"
_V2 = ("/v2/models/<model:name>", "/v2/models/<model:name>/versions/<version>")
_NUMBER = "/snippets/<number:identity>/"
_STREAM = "/streams/<key:stream>"
_USER = "/users/<key:user>"
_OWN = "one's own; `admin`: anybody's"
_ROOMS = ("/ws", "/ws/<string(maxlength=64):room>")

_change: dict[str, Any] = {"changes": True, "rate": "change_rate"}
"""What doors have in common through which users, tokens and logins are changed."""


def _http(methods: str, paths: str | Iterable[str], login: Login, *roles: str, **more: Any) -> list[Door]:
    """Rows of HTTP: each of the `methods` ("GET PUT") at each path; `roles` beside admin, none: any login."""
    allowed = frozenset({*roles, ADMIN} if roles else ())
    each = [paths] if isinstance(paths, str) else paths
    return [Door(HTTP, method, path, login, allowed, **more) for path in each for method in methods.split()]


def _event(name: str, login: Login, *roles: str, **more: Any) -> Door:
    allowed = frozenset({*roles, ADMIN} if roles else ())
    return Door(EVENT, "", name, login, allowed, **more)


DOORS: tuple[Door, ...] = (
    # Health and documents.
    *_http("GET", ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"), Login.NEVER),
    *_http("GET", "/", Login.PROGRAMS, rate="look_rate", note="browsers get the live page: with `-a` to `viewer`"),
    *_http("GET", "/camera", Login.AUTH, CAMERA, rate="look_rate", note="a page; browsers are led to the login"),
    *_http("GET", "/pages/camera.svg", Login.AUTH, rate="look_rate", note="a QR code of the address of `/camera`"),
    *_http("GET", ("/login", "/pages/<path:file>"), Login.NEVER, note="what pages are made of"),
    *_http("GET", ("/docs", "/openapi.json"), Login.USERS, rate="look_rate"),
    # Models by name.
    *_http("GET", ("/list_nn", _MODEL, f"{_MODEL}/about"), Login.USERS, rate="look_rate"),
    *_http("GET", ("/v2", "/v2/models", *_V2), Login.USERS, rate="look_rate"),
    *_http("GET", [f"{path}/ready" for path in _V2], Login.USERS, rate="look_rate"),
    *_http("GET", ["/v2/models/stats", *(f"{path}/stats" for path in _V2)], Login.USERS, rate="look_rate"),
    *_http(
        "POST", (f"{_MODEL}/classify", *(f"{path}/infer" for path in _V2)), Login.USERS, CAMERA, changes=True,
        rate="picture_rate", body="max_frame_bytes",
    ),
    # Training.
    *_http("GET", f"{_MODEL}/train/status", Login.USERS, rate="look_rate"),
    *_http("GET", f"{_MODEL}/train/events", Login.USERS, rate="look_rate", lasts=True),
    *_http(
        "POST", f"{_MODEL}/train", Login.USERS, ADMIN, changes=True, rate="training_rate", lasts=True,
        event=AuditEvent.TRAINING_STARTED,
    ),
    *_http(
        "POST", f"{_MODEL}/train/cancel", Login.USERS, ADMIN, changes=True, rate="training_rate",
        event=AuditEvent.TRAINING_CANCELLED,
    ),
    *_http(
        "GET", f"{_MODEL}/train", Login.USERS, ADMIN, changes=True, rate="training_rate", note="programs only",
        lasts=True, event=AuditEvent.TRAINING_STARTED,
    ),
    *_http(
        "POST", f"{_MODEL}/reload", Login.USERS, ADMIN, changes=True, rate="training_rate",
        event=AuditEvent.CONFIGURATION,
    ),
    # Pictures on demand.
    *_http("GET", "/snippets/", Login.AUTH, VIEWER, rate="look_rate"),
    *_http(
        "GET", (_NUMBER, f"{_NUMBER}image"), Login.AUTH, CAMERA, VIEWER, rate="look_rate",
        note="`camera`: only what it put itself",
    ),
    *_http(
        "PUT POST", _NUMBER, Login.AUTH, CAMERA, changes=True, rate="picture_rate", body="max_frame_bytes",
        note="no number that another user put",
    ),
    *_http("DELETE", _NUMBER, Login.USERS, ADMIN, changes=True, rate="change_rate", event=AuditEvent.DELETION),
    *_http(
        "GET", _ROOMS, Login.AUTH, rate="look_rate", changes=True, lasts=True,
        note="texts of `camera` are relayed, but for `snap`; news of pictures go to `viewer` and to who put them",
    ),
    # Streams.
    *_http("GET", ("/streams/", f"{_STREAM}.json", f"{_STREAM}.jpg"), Login.AUTH, VIEWER, rate="look_rate"),
    *_http("GET", (f"{_STREAM}.mjpeg", "/streams/events"), Login.AUTH, VIEWER, rate="look_rate", lasts=True),
    *_http(
        "GET", "/live", Login.AUTH, VIEWER, rate="look_rate", lasts=True,
        note="the live page's connection; of logins and limits of others it tells `admin` alone",
    ),
    *_http("POST", _STREAM, Login.USERS, ADMIN, changes=True, rate="change_rate", body="max_json_bytes"),
    *_http("DELETE", _STREAM, Login.USERS, ADMIN, changes=True, rate="change_rate"),
    # Users, tokens, and logins of pages.
    *_http("GET", "/users/", Login.ALWAYS, ADMIN, rate="look_rate"),
    *_http("PUT", _USER, Login.ALWAYS, ADMIN, **_change, body="max_json_bytes"),
    *_http("DELETE", _USER, Login.ALWAYS, ADMIN, **_change),
    *_http("GET", "/tokens/", Login.ALWAYS, rate="look_rate", note=_OWN),
    *_http("POST", "/tokens/", Login.ALWAYS, **_change, body="max_json_bytes", note="no token makes tokens; " + _OWN),
    *_http("DELETE", "/tokens/<key:token>", Login.ALWAYS, **_change, note=_OWN),
    *_http("POST", "/login", Login.NEVER, **_change, body="max_json_bytes", note="the login itself"),
    *_http("POST", "/logout", Login.ALWAYS, **_change),
    *_http("GET", "/sessions/", Login.ALWAYS, rate="look_rate", note=_OWN),
    *_http("DELETE", "/sessions/<key:session>", Login.ALWAYS, **_change, note=_OWN),
    # Figures.
    *_http("GET", "/metrics", Login.AUTH, VIEWER, rate="look_rate"),
    # Socket.IO: its connection, and the events that clients send.
    *_http("GET POST", "/socket.io/", Login.NEVER, changes=True, body="max_payload_bytes", note="each event asks"),
    _event("authenticate", Login.NEVER, rate="login_attempts", note="the login itself"),
    _event("receiveImage", Login.AUTH, CAMERA, rate="hz", body="max_frame_bytes"),
    _event("configure", Login.AUTH, CAMERA, rate="change_rate", body="max_text_bytes", note="one's own stream"),
    _event("session_start", Login.SESSION, CAMERA, rate="change_rate", body="max_text_bytes"),
    _event("frame", Login.SESSION, CAMERA, body="max_frame_bytes"),
    _event("session_end", Login.SESSION, CAMERA, body="max_text_bytes"),
    # Legacy TCP.
    *(Door(COMMAND, "", name, Login.KEY, foreign=False) for name in ("MODE", "PRED", "HASH")),
    Door(COMMAND, "", "FILE", Login.KEY, body="tcp_max_bytes", foreign=False),
    *(Door(COMMAND, "", name, Login.NEVER, foreign=False) for name in ("AUTH", "BYE!")),
)  # fmt: skip
"""Every door there is. `admin` may what any other role may."""


class DoorTable:
    """Finds rows. ValueError when two have the same key."""

    def __init__(self, rows: Iterable[Door] = DOORS) -> None:
        self.rows = tuple(rows)
        self._by_key = {door.key: door for door in self.rows}
        if len(self._by_key) < len(self.rows):
            raise ValueError("two rows are about the same door")

    def http(self, method: str, path: str) -> Door:
        """The row of a route. KeyError: there is none."""
        return self._by_key[HTTP, method, path]

    def event(self, name: str) -> Door:
        """The row of an event. KeyError: there is none."""
        return self._by_key[EVENT, "", name]

    def command(self, name: str) -> Door:
        """The row of a command. KeyError: there is none."""
        return self._by_key[COMMAND, "", name]


TABLE = DoorTable()
