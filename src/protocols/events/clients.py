"""Who the clients on Socket.IO are: what each said at its connect, and who has proved to be there since.

Where nobody need log in, a client whose name is not proved goes by it all the same, and may what anybody may.

A client's login:

             the right password or token              it no longer holds (accounts/live.py)
    NOBODY ─────────────────────────────► a user ─────────────────────────────────────────► disconnected
       ▲                                   │  ▲ │
       └───────────────────────────────────┘  └─┘ another user's, or the same once more:
            a login that is refused               what counts is the last one
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imageserver.accounts import cameras
from imageserver.accounts.database import MAX_NAME, User
from imageserver.accounts.doors import Door, Login
from imageserver.accounts.login import Logins
from imageserver.errors import LimitExceeded, NotAllowed
from imageserver.transport.socketio.server import SocketIOServer


@dataclass(slots=True, eq=False)
class SocketClient:
    """A client in the namespace `/`."""

    sid: str
    address: str
    said_camera: str
    """What it calls its camera; "" when it does not."""
    camera: str
    """Under which name its pictures count."""
    name: str
    """Its user's; where nobody need prove it, what it says; otherwise its id."""
    user: User | None = None
    """Who has proved to be there."""
    known: User | None = None
    """Whose defaults its streams have: its user's; where nobody need prove their name, those of the user so named."""
    has_key: bool = False
    """Whether it has shown the server's key for sessions."""


@dataclass(slots=True)
class _Claim:
    """Who a client is that has proved nothing, or as far as it has."""

    name: str
    camera: str
    known: User | None = None


class SocketClients:
    """The clients that are connected.

    Args:
        server: Where they are.
        logins: The check of what they show.
        key: What stands for a user where sessions are concerned; "": nothing does.
    """

    def __init__(self, server: SocketIOServer, logins: Logins, key: str) -> None:
        self._server, self._logins = server, logins
        self._key = key.encode(errors="surrogatepass")  # JSON can hold text that has no UTF-8
        self._here: dict[str, SocketClient] = {}
        self.changed: Callable[[SocketClient, User | None], None] = lambda _client, _before: None
        """Called with each client that somebody else is from now on, and with who had proved to be there before."""

    @property
    def required(self) -> bool:
        """Whether everybody must log in (`--auth`)."""
        return self._logins.required

    def get(self, sid: str) -> SocketClient | None:
        """The client of this id; None when it has gone."""
        return self._here.get(sid)

    def is_here(self, client: SocketClient) -> bool:
        """Whether a client has not gone."""
        return self._here.get(client.sid) is client

    def may(self, client: SocketClient, door: Door) -> bool:
        """Whether a client may use a door. Whoever has logged in needs the role, also where no login is asked."""
        if client.user is not None:
            return not door.refuses(client.user)
        if door.login is Login.SESSION:
            return client.has_key or not (self._key or self.required)
        return door.login is Login.NEVER or not self.required

    def connect(self, sid: str, environ: Mapping[str, str], auth: Mapping[str, Any]) -> None:
        """A client has come; waits green while what it shows is checked.

        Args:
            sid: Its id.
            environ: REMOTE_ADDR, and QUERY_STRING of the request that it began with.
            auth: What it brought along: a `key`, a `user` and a `password`.

        Raises:
            NotAllowed: What it shows or says is wrong.
            LimitExceeded: As `login`.
        """
        camera = cameras.said(environ["QUERY_STRING"])
        client = self._here[sid] = SocketClient(sid, environ["REMOTE_ADDR"], camera, camera, sid)
        if self._key and auth.get("key") is not None:
            self._check_key(client, auth["key"])
        name, password = auth.get("user", auth.get("username")), auth.get("password")
        if name is None or password is None:
            self.changed(client, None)
            return
        self._check(client, name, password)
        if client.user is None and self.required:
            raise NotAllowed("the user or the password is wrong")

    def login(self, client: SocketClient, name: Any, password: Any) -> None:
        """Log a client in with what it sent, whatever that is; waits green. `client.user` is None when that is wrong.

        Raises:
            NotAllowed: The user is bound to other cameras than the client's.
            LimitExceeded: Too many logins wait, or were refused.
        """
        try:
            self._check(client, name, password)
        except LimitExceeded:
            if self.required:
                raise  # otherwise every name is accepted, though just now nobody can prove one

    def forget(self, sid: str) -> SocketClient | None:
        """The client of this id has gone; None when it was not here."""
        self._logins.forget(sid)
        return self._here.pop(sid, None)

    # ---- within -----------------------------------------------------------------------------------------------

    def _check_key(self, client: SocketClient, key: object) -> None:
        """NotAllowed: the key is wrong."""
        if not (isinstance(key, str) and hmac.compare_digest(key.encode(errors="surrogatepass"), self._key)):
            raise NotAllowed("the key is wrong")
        client.has_key = True
        self._server.logged_in(client.sid)
        self._server.account(client.sid).admit()

    def _check(self, client: SocketClient, name: object, password: object) -> None:
        """Let the client be who it says, if that is right, and otherwise nobody."""
        claim, user = _Claim(client.sid, client.said_camera), None
        try:
            if isinstance(name, str) and isinstance(password, str) and 0 < len(name) <= MAX_NAME:
                user = self._prove(client, name, password, claim)
                claim.camera = cameras.of_user(() if user is None else user.only, client.said_camera)
        except Exception:
            self._become(client, None, claim)
            raise
        self._become(client, user, claim)

    def _prove(self, client: SocketClient, name: str, password: str, claim: _Claim) -> User | None:
        """The user whose password this is."""
        if not self.required:
            claim.name = name
        with self._server.checking_login(client.sid):
            self._logins.forget(client.sid)
            claim.known = self._logins.login(client.sid, name, password, client.address)
        return self._logins.verified(client.sid)

    def _become(self, client: SocketClient, user: User | None, claim: _Claim) -> None:
        """The one place that changes who a client is."""
        if not self.is_here(client):
            self._logins.forget(client.sid)
            return  # it went while its password was hashed
        before = client.user
        client.user, client.known, client.camera = user, claim.known, claim.camera
        client.name = claim.name if user is None else user.name
        if user is not None:
            self._server.logged_in(client.sid)
            self._server.account(client.sid).belongs_to(user.name)
        self.changed(client, before)
