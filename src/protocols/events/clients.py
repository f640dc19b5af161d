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

from imageserver.accounts import cameras, credentials
from imageserver.accounts.credentials import Credentials
from imageserver.accounts.database import MAX_NAME, User
from imageserver.accounts.doors import Door, Login
from imageserver.accounts.live import LiveLogin
from imageserver.accounts.login import Logins
from imageserver.errors import LimitExceeded, NotAllowed, UsersUnavailable
from imageserver.transport.socketio.server import SocketIOServer

CONNECT, AUTHENTICATE, KEY = "connect", "authenticate", "session key"
"""Where logins are tried, as the guard and the audit name it."""


@dataclass(slots=True, eq=False)
class SocketClient:
    """A client in the namespace `/`."""

    sid: str
    address: str
    said_camera: str
    """What it calls its camera; "" when it does not."""
    camera: str
    """Under which name its pictures count: that, or what is set for its user."""
    name: str
    """Its user's; where nobody need prove it, what it says; otherwise its id."""
    user: User | None = None
    """Who has proved to be there."""
    known: User | None = None
    """Whose defaults its streams have: its user's; where nobody need prove their name, those of the user so named."""
    has_key: bool = False
    """Whether it has shown the server's key for sessions."""
    login: LiveLogin | None = None
    """Ends the connection when its user's login no longer holds."""


class SocketClients:
    """The clients that are connected.

    Args:
        server: Where they are.
        logins: The check of what they show.
        key: What stands for a user where sessions are concerned; "": nothing does.
    """

    def __init__(self, server: SocketIOServer, logins: Logins, key: str) -> None:
        self._server, self._logins = server, logins
        self.required = logins.required
        """Whether everybody must log in (`--auth`); otherwise every name is accepted."""
        self._key = key.encode(errors="surrogatepass")  # JSON can hold text that has no UTF-8
        self._here: dict[str, SocketClient] = {}
        self.changed: Callable[[SocketClient, User | None], None] = lambda _client, _before: None
        """Called with each client that somebody else is from now on, and with who had proved to be there before."""

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
            environ: REMOTE_ADDR, and QUERY_STRING of the request that it began with; as KEPT the cookie of its page.
            auth: What it brought along: a `key`; a `user` and a `password`, a `token`, or the wish that the login of
                its `page` counts.

        Raises:
            NotAllowed: What it shows or says is wrong.
            LimitExceeded: Too many logins wait, or were refused.
            UsersUnavailable: Nobody can log in now.
        """
        camera = cameras.said(environ["QUERY_STRING"])
        client = self._here[sid] = SocketClient(sid, environ["REMOTE_ADDR"], camera, camera, sid)
        if self._key and auth.get("key") is not None:
            self._check_key(client, auth["key"])
        name, secret, token = auth.get("user", auth.get("username")), auth.get("password"), auth.get("token")
        if token is not None:
            shown, wrong = _token(token, name), "the token is wrong"
        elif name is not None and secret is not None:
            shown, wrong = _password(name, secret), "the user or the password is wrong"
        elif auth.get("page"):
            cookie = environ.get("KEPT", "")
            shown, wrong = credentials.page(cookie) if cookie else None, credentials.PAGE_ENDED
        else:
            self.changed(client, None)
            return
        self._check(client, shown, CONNECT)
        if client.user is None and self.required:
            raise NotAllowed(wrong)

    def login(self, client: SocketClient, name: object, secret: object) -> None:
        """Log a client in with what it sent, whatever that is; waits green. `client.user` is None when that is wrong.

        Where nobody need log in, every name is accepted, also when just now nobody can prove one.

        Raises:
            NotAllowed: The user is bound to other cameras than the client's.
            LimitExceeded, UsersUnavailable: As `connect`.
        """
        try:
            self._check(client, _password(name, secret), AUTHENTICATE)
        except (LimitExceeded, UsersUnavailable):
            if self.required:
                raise

    def forget(self, sid: str) -> SocketClient | None:
        """The client of this id has gone; None when it was not here."""
        client = self._here.pop(sid, None)
        if client is not None and client.login is not None:
            client.login.close()
        return client

    # ---- within -----------------------------------------------------------------------------------------------

    def _check_key(self, client: SocketClient, key: object) -> None:
        """NotAllowed: the key is wrong."""
        with self._logins.attempt(client.address, KEY) as attempt:
            if not (isinstance(key, str) and hmac.compare_digest(key.encode(errors="surrogatepass"), self._key)):
                attempt.failed(f"a session key from {client.address} is wrong")
                raise NotAllowed("the key is wrong")
        client.has_key = True
        self._server.logged_in(client.sid)
        self._server.account(client.sid).admit()

    def _check(self, client: SocketClient, shown: Credentials | None, door: str) -> None:
        """Let the client be whose credentials it shows; nobody when they are wrong or none (None)."""
        user, claimed = None, "" if shown is None or self.required else shown.name
        # Also while it becomes who it is: else the time to log in, when it is over, ends who was right.
        with self._server.checking_login(client.sid):
            try:
                if shown is not None and self._logins.closed():
                    user = self._logins.check(shown, client.address, door)
                    if user is not None:
                        cameras.of_user(user.only, user.camera, client.said_camera)
            except Exception:
                self._become(client, None, claimed)
                raise
            self._become(client, user, claimed)

    def _become(self, client: SocketClient, user: User | None, claimed: str) -> None:
        """The one place that changes who a client is: a user, or nobody, who may go by the name that it claims."""
        known = self._logins.known(claimed) if user is None and claimed else user
        if not self.is_here(client):
            return  # it went while its password was hashed
        before = client.user
        if client.login is not None:
            client.login.close()
        client.user, client.known, client.login = user, known, None
        client.name, client.camera = claimed or client.sid, client.said_camera or (known.camera if known else "")
        if user is not None:
            client.name, client.camera = user.name, cameras.of_user(user.only, user.camera, client.said_camera)
            client.login = self._logins.live.add(user, lambda _why: self._end(client))
            self._server.logged_in(client.sid)
            self._server.account(client.sid).belongs_to(user.name)
        self.changed(client, before)

    def _end(self, client: SocketClient) -> None:
        """Its login no longer holds. In generation 3 whoever comes back on its connection has the same id."""
        if self.is_here(client):
            self._server.disconnect(client.sid, close=True)


def is_another(client: SocketClient, before: User | None) -> bool:
    """Whether a user had proved to be there `before`, who is not the one that has now."""
    return before is not None and (client.user is None or client.user.name != before.name)


def _password(name: object, secret: object) -> Credentials | None:
    """What an event or a connection shows; None: no texts of the length of a name and a password."""
    if isinstance(name, str) and isinstance(secret, str) and 0 < len(name) <= MAX_NAME:
        return credentials.password(name, secret)
    return None


def _token(secret: object, name: object) -> Credentials | None:
    """The same of a token, which says itself whose it is; a name beside it has to be that user's."""
    if name is not None:
        return _password(name, secret)
    return credentials.token(secret) if isinstance(secret, str) else None
