"""Who gets a session: how many there may be, of one address too, and how long one may go on without a login.

A session on polling counts as a connection of its address, since it keeps none; one on a WebSocket has a connection,
which counts already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from imageserver.errors import EngineRefusal
from imageserver.limits import Limits, note
from imageserver.transport import hub
from imageserver.transport.budget import owner_of
from imageserver.transport.engineio.request import BAD_REQUEST
from imageserver.transport.engineio.session import EngineSession
from imageserver.transport.http.clients import ClientAddresses


class Admission:
    """Lets sessions in, and ends those that stay anonymous.

    Args:
        limits: `max_connections` sessions in all, `login_time` for each to log in.
        clients: the connections by the address of their client.
        log: takes one line at a time.
    """

    def __init__(self, limits: Limits, clients: ClientAddresses, log: Callable[[str], None]) -> None:
        self._limits, self._clients, self._log = limits, clients, log
        self.leaving = False
        """Whether the server is about to stop: those who are here go on, and nobody else begins."""
        self._deadlines: dict[str, hub.Timer | None] = {}
        """Those who have not logged in; None: the time is over, but a login is being checked."""
        self._checking: set[str] = set()
        self._polling: set[str] = set()

    def check(self, address: str, count: int) -> None:
        """Raises EngineRefusal: the server is leaving, or there are as many sessions as may be, `count` now."""
        if self.leaving:
            again = [("Retry-After", "1")]
            raise EngineRefusal(BAD_REQUEST, "503 Service Unavailable", again, "the server is stopping")
        if count >= self._limits.max_connections:
            sentence = f"{count} sessions are open; one more, of {address}, was refused"
            self._log(note(sentence, "max_connections", owner_of(address)))
            raise EngineRefusal(BAD_REQUEST, "503 Service Unavailable", [("Retry-After", "5")])

    def enter(self, address: str) -> None:
        """Count a session on polling. Raises EngineRefusal when its address has as many connections as it may."""
        if not self._clients.enter(address):
            raise EngineRefusal(BAD_REQUEST, "429 Too Many Requests", [("Retry-After", "5")])

    def begin(self, session: EngineSession, *, on_polling: bool) -> None:
        """A session has begun: it has `login_time` from now on."""
        if on_polling:
            self._polling.add(session.sid)
        if session.anonymous:
            self._deadlines[session.sid] = hub.call_later(self._limits.login_time, self._end, session)

    def upgraded(self, session: EngineSession) -> None:
        """A session has moved to a WebSocket, whose connection counts."""
        if session.sid in self._polling:
            self._polling.remove(session.sid)
            self._clients.leave(session.address)

    def leave(self, session: EngineSession) -> None:
        """A session has ended."""
        self.upgraded(session)
        self._stop(session.sid)

    def logged_in(self, session: EngineSession) -> None:
        """Its client has shown who it is."""
        session.anonymous = False
        self._stop(session.sid)

    @contextlib.contextmanager
    def checking(self, session: EngineSession) -> Iterator[None]:
        """Around the check of a login: a session's time may run out only after it."""
        self._checking.add(session.sid)
        try:
            yield
        finally:
            self._checking.discard(session.sid)
            if self._deadlines.get(session.sid, session) is None:
                self._end(session)

    def _stop(self, sid: str) -> None:
        deadline = self._deadlines.pop(sid, None)
        if deadline is not None:
            deadline.cancel()

    def _end(self, session: EngineSession) -> None:
        if session.sid in self._checking:
            self._deadlines[session.sid] = None
            return
        self._deadlines.pop(session.sid, None)
        why = f"{session.who} has not logged in within {self._limits.login_time:g} seconds; it is disconnected"
        self._log(note(why, "login_time", session.account.owner))
        session.close("server disconnect")
