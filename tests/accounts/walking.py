"""A walk over the doors of a real server: who comes, what each may expect, and how they ask."""

from __future__ import annotations

import base64
import contextlib
import http.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.passwords import CHEAP
from tests.running import PATIENCE, TEST_MODELS, CheapServer, Server, picture

from imageserver.accounts.database import ROLES, UserDB
from imageserver.accounts.doors import Door, Login
from imageserver.web import page_cookie

FRIEND, EVIL = "http://friend.example", "http://evil.example"
DAY = 86400.0
PUT_BY_CAMERA, PUT_BY_NOBODY = 99, 98
"""Numbers of pictures: one that the user camera has put, and one that is not there."""

WITH_USERS = ("-a", "users")
MODES = (*WITH_USERS, "users once", "no users")
"""With -a and users; without -a, but with users, or with such as were removed; without both."""

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Visitor:
    """Somebody at the doors.

    Attributes:
        name: for the messages of tests.
        user: of which name; "" for nobody.
        secret: password or token; shown with the name, or alone where there is none.
        roles: what counts; None for whom no server lets in.
        bound: to another camera than those of the others.
        owner: whose token it is.
        cookie: of a page session.
    """

    name: str
    user: str = ""
    secret: str = ""
    roles: frozenset[str] | None = None
    bound: bool = False
    owner: str = ""
    cookie: str = ""

    @property
    def headers(self) -> Headers:
        """How they show who they are."""
        if self.cookie:
            return {"Cookie": f"{page_cookie.NAME}={self.cookie}"}
        if self.user:
            pair = base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}

    @property
    def auth(self) -> dict[str, str] | None:
        """The same for Socket.IO; who shows a cookie says there that it is to count."""
        if self.cookie:
            return {"page": "1"}
        if self.user:
            return {"user": self.user, "password": self.secret}
        return {"token": self.secret} if self.secret else None

    def counts(self, mode: str) -> bool:
        """Whether a server takes them for who they say they are."""
        return self.roles is not None and mode in WITH_USERS


@dataclass
class Scene:
    """A server, and who comes to it."""

    mode: str
    server: Server
    visitors: Sequence[Visitor]
    client: Client

    def visitor(self, name: str) -> Visitor:
        """The one of that name."""
        return next(visitor for visitor in self.visitors if visitor.name == name)


def asked(door: Door, mode: str) -> bool:
    """Whether a login is asked, by docs/users.md."""
    return {
        Login.NEVER: False,
        Login.AUTH: mode == "-a",
        Login.SESSION: mode == "-a",
        Login.USERS: mode != "no users",  # nor does it open because the last user was removed
        Login.PROGRAMS: mode != "no users",
        Login.ALWAYS: True,
        Login.KEY: False,
    }[door.login]


def expected(door: Door, mode: str, visitor: Visitor) -> int:
    """The status of a refusal, or 0 where whatever else is answered will do."""
    if door.name == "POST /login":
        return expected_login(mode, visitor)
    if door.login is Login.NEVER:
        return 0
    if not visitor.counts(mode):
        refusal = 403 if door.login is Login.ALWAYS and mode not in WITH_USERS else 401
        return refusal if asked(door, mode) else 0
    assert visitor.roles is not None
    has_role = not door.roles or "admin" in visitor.roles or bool(door.roles & visitor.roles)
    return 0 if has_role else 403


def expected_login(mode: str, visitor: Visitor) -> int:
    """The same for the login of a page, which takes passwords only."""
    if not visitor.secret:
        return 0  # and then the lack of a body is told
    if visitor.roles is None:
        return 401 if mode in WITH_USERS else 403
    return 403 if visitor.secret.startswith("ist_") else 0


def settle(folder: Path) -> list[Visitor]:
    """The users of a data folder, with tokens in every state; returns all who will come."""
    users = UserDB(folder / "users.db", CHEAP)
    found = [Visitor("nobody"), Visitor("no token", "", "ist_abc_def")]
    for roles in (*((role,) for role in ROLES), ROLES):
        name = roles[0] if len(roles) == 1 else "all"
        users.add(name, name, roles)
        found.append(Visitor(name, name, name, frozenset(roles)))
        found.append(Visitor(f"token of {name}", "", users.add_token(name)[1], frozenset(roles), owner=name))
    users.add("bound", "bound", ("camera", "viewer"), only=("kitchen",))
    found.append(Visitor("bound", "bound", "bound", frozenset({"camera", "viewer"}), bound=True))
    users.add("forgetful", "forgotten", ROLES)  # whose hash stays cheap, since it is never renewed by a right login
    found.append(Visitor("wrong password", "forgetful", "wrong"))
    found.append(Visitor("token as password", "all", users.add_token("all")[1], frozenset(ROLES)))
    found.append(Visitor("token of another", "all", users.add_token("viewer")[1]))
    secret = users.add_token("all", ("viewer",))[1]
    found.append(Visitor("token with one role", "", secret, frozenset({"viewer"}), owner="all"))
    revoked, secret = users.add_token("all")
    users.revoke(revoked.identity)
    found.append(Visitor("revoked token", "", secret, owner="all"))
    for name in ("camera", "all"):
        user = users.check(name, name)
        assert user is not None
        found.append(Visitor(f"page of {name}", roles=user.roles, cookie=users.open_page(user, "127.0.0.1")))
        found.append(Visitor(f"ended page of {name}", cookie=users.open_page(user, "127.0.0.1")))
        users.revoke(found[-1].cookie.split("_")[1])
    long_ago = UserDB(folder / "users.db", CHEAP, clock=lambda: 1_770_000_000.0)
    found.append(Visitor("expired token", "", long_ago.add_token("all", days=1)[1], owner="all"))
    return found


@contextlib.contextmanager
def scene(mode: str, folder: Path, *more: str) -> Iterator[Scene]:
    """A server of that mode, in which nobody is held up by having asked often."""
    visitors = settle(folder) if mode in WITH_USERS else [Visitor("nobody"), Visitor("some user", "ghost", "ghost")]
    if mode == "users once":
        users = UserDB(folder / "users.db", CHEAP)
        users.add("ghost", "ghost")
        users.remove("ghost")
    unlimited = [
        word for name in ("login-attempts", "look-rate", "change-rate", "training-rate") for word in (f"--{name}", "0")
    ]
    options = [*(["-a"] if mode == "-a" else []), "--cors-origin", FRIEND, *unlimited, *more]
    with (
        CheapServer(*options, data=folder, models=TEST_MODELS) as server,
        contextlib.closing(Client(server.port)) as client,
    ):
        server.ready()
        found = Scene(mode, server, visitors, client)
        owner = found.visitor("camera").headers if mode in WITH_USERS else {}
        status = client.ask("PUT", f"/snippets/{PUT_BY_CAMERA}/", owner, picture(9))
        assert status == 200, status
        yield found


class Client:
    """Asks over one connection that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = self._connected()
        self.headers: Headers = {}

    def ask(self, method: str, path: str, headers: Headers, body: bytes = b"") -> int:
        """The status of an answer, whose `headers` are kept; nothing is sent that is not given, but a Host."""
        try:
            return self._ask(method, path, headers, body)
        except (ConnectionError, http.client.HTTPException):  # it was closed behind the last answer
            self._connection = self._connected()
            return self._ask(method, path, headers, body)

    def close(self) -> None:
        self._connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)

    def _ask(self, method: str, path: str, headers: Headers, body: bytes) -> int:
        connection = self._connection
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body or method not in ("GET", "HEAD"):
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Content-Type", "image/jpeg")
        connection.endheaders(body or None)
        answer = connection.getresponse()
        self.headers = dict(answer.getheaders())
        if self.headers.get("Content-Type", "").startswith("text/event-stream"):
            connection.close()  # it has no end
        else:
            answer.read()
        return answer.status
