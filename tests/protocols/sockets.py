"""The protocols over Socket.IO, everything above the transport real: who is there, the router, streams, sessions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.passwords import CHEAP
from tests.streams.test_session import FakeModels
from tests.streams.test_stream import Engine

from imageserver.accounts.database import UserDB
from imageserver.accounts.login import Logins
from imageserver.accounts.rates import Rates
from imageserver.errors import ConnectionRefused
from imageserver.limits import Limits
from imageserver.protocols.camstream import CamStream
from imageserver.protocols.events.clients import SocketClients
from imageserver.protocols.events.router import Events
from imageserver.protocols.sessions import SessionProtocol
from imageserver.streams.session import Sessions
from imageserver.streams.stream import Streams
from imageserver.transport.budget import Account, Budget

TIME = bytes(8)


class Sockets:
    """Stands in for the Socket.IO server: calls handlers as it does, and keeps what is emitted."""

    def __init__(self, limits: Limits, *, login_required: bool) -> None:
        self.emitted: list[tuple[str, str, Any]] = []
        self.disconnected: list[str] = []
        self.logged_in_ids: list[str] = []
        self.logged_in_late: list[str] = []  # when the time to log in may have ended them
        self._checking: set[str] = set()
        self.handlers: dict[str, Callable[..., Any]] = {}
        self._budget = Budget(limits, login_required=login_required, log=lambda _line: None)
        self._accounts: dict[str, Account] = {}

    def on(self, event: str, handler: Callable[..., Any]) -> None:
        self.handlers[event] = handler

    def emit(self, event: str, *arguments: Any, to: str, newest: str | None = None) -> None:
        self.emitted.append((to, event, arguments[0]))

    def disconnect(self, sid: str, *, close: bool = False) -> None:
        self.disconnected.append(sid)
        self.handlers["disconnect"](sid, "server disconnect")

    def address(self, sid: str) -> str:
        return "192.0.2.1"

    @contextlib.contextmanager
    def checking_login(self, sid: str) -> Iterator[None]:
        self._checking.add(sid)
        try:
            yield
        finally:
            self._checking.discard(sid)

    def logged_in(self, sid: str) -> None:
        self.logged_in_ids.append(sid)
        if sid not in self._checking:
            self.logged_in_late.append(sid)

    def account(self, sid: str) -> Account:
        return self._accounts.setdefault(sid, self._budget.account("192.0.2.1"))


class World:
    """A server's protocols, and clients of theirs that are called by their ids.

    Args:
        auth: Whether everybody must log in.
        key: For sessions.
        limits: What is not as by default.
    """

    def __init__(self, *, auth: bool = False, key: str = "", **limits: Any) -> None:
        bounds = Limits(**limits)
        self.users = UserDB(None, CHEAP)
        self.log: list[str] = []
        self.logins = Logins(self.users, bounds, required=auth, log=self.log.append)
        self.sockets: Any = Sockets(bounds, login_required=auth)
        self.engine = Engine()
        self.streams = Streams(self.engine, bounds)  # type: ignore[arg-type]
        self.models = FakeModels()
        self.sessions = Sessions(self.models, ["pulse"], bounds, deadline=0.25, names=self.streams.names)  # type: ignore[arg-type]
        self.clients = SocketClients(self.sockets, self.logins, key)
        self.camstream = CamStream(self.streams, self.clients, self.sockets, model="m", hz=0.0)
        protocols = [self.camstream, SessionProtocol(self.sessions, self.sockets)]
        self.events = Events(self.sockets, self.clients, protocols, Rates(bounds))

    def connect(self, sid: str, query: str = "", **auth: Any) -> str:
        """Connect; why that was refused, "" when it was not."""
        try:
            self.sockets.handlers["connect"](sid, {"REMOTE_ADDR": "192.0.2.1", "QUERY_STRING": query}, auth or None)
        except ConnectionRefused as error:
            return str(error) or "refused"
        return ""

    def call(self, sid: str, event: str, *arguments: Any) -> Any:
        """Send an event; its acknowledgement."""
        handler = self.sockets.handlers.get(event)
        return handler(sid, *arguments) if handler else self.sockets.handlers["*"](event, sid, *arguments)

    def login(self, sid: str, name: Any, password: Any) -> Any:
        """Authenticate; the answer."""
        before = len(self.sockets.emitted)
        self.call(sid, "authenticate", name, password)
        return next(
            (value for _sid, event, value in self.sockets.emitted[before:] if event == "onAuthentication"), None
        )

    def frame(self, sid: str) -> str:
        """Send a frame: "" when it waits to be run, else what the client is told."""
        before = len(self.sockets.emitted)
        self.call(sid, "receiveImage", b"a picture")
        told = [json.loads(value)["error"] for _sid, event, value in self.sockets.emitted[before:]]
        return told[0] if told else ""

    def ask(self, sid: str, event: str, *arguments: Any) -> str:
        """Send an event that is acknowledged: "" for success, else the sentence."""
        answer = json.loads(self.call(sid, event, *arguments))
        return "" if answer["success"] else str(answer["error"])

    def begin(self, sid: str) -> str:
        """Start a session: "" when it runs, else the sentence."""
        return self.ask(sid, "session_start", TIME)
