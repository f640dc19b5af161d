"""An Engine.IO server of both generations: the sessions, and the requests that reach them.

It is our own because python-engineio 4.15 speaks generation 4 only, and nearly every method of its `Server` and
`Socket` would have to be replaced.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from imageserver.errors import EngineRefusal
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.budget import Account
from imageserver.transport.engineio import polling, websocket
from imageserver.transport.engineio.admission import Admission
from imageserver.transport.engineio.outgoing import Group
from imageserver.transport.engineio.request import BAD_METHOD, BAD_REQUEST, FORBIDDEN, SESSION_UNKNOWN, EngineRequest
from imageserver.transport.engineio.session import EngineSession, EngineState
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.origins import Origins
from imageserver.transport.websocket.connection import accept, forget_headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LAST_ANSWER_SECONDS = 1.0
"""How long a closed polling session's last answer waits for the poll that crosses the close on its way."""

BESIDE_BYTES = 16
"""What a WebSocket message may have beside what it carries: a packet's type, and the time of a session's frame."""


class EngineServer:
    """A WSGI application (`handle_request`), and the sessions behind it.

    `origins`: which web pages may use it, by default its own alone. `clients`: counts connections by address, if it is
    not to be a count of its own. `login_required`: whether a session has to log in. `keep`: what a session keeps of the
    request that it begins with, a short text. `front_end`: with what ids begin, and a dot; "": with neither.
    The handlers `connect`, `message`, `disconnect` and `offer_text` are called in the green thread that reads for the
    session, and must not raise. `log` takes one line at a time.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        origins: Origins | None = None,
        clients: ClientAddresses | None = None,
        login_required: bool = False,
        keep: Callable[[WSGIEnvironment], str] = lambda _environ: "",
        front_end: str = "",
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits, self.login_required, self.log, self.clock = limits, login_required, log, clock
        self.admission = Admission(limits, clients or ClientAddresses((), limits.max_per_address, log), log)
        self.sessions: dict[str, EngineSession] = {}
        self.connect: Callable[[EngineSession], object] = lambda _session: None
        """Is told of each new session."""
        self.offer_text: Callable[[str, bytes], bool] = lambda _sid, _raw: False
        """Is offered each text message of a WebSocket, raw; True: it was taken, False: decode it and call `message`."""
        self.message: Callable[[str, str | bytes], None] = lambda _sid, _data: None
        self.disconnect: Callable[[str, str], object] = lambda _sid, _reason: None
        """Is told of each session's end, and why it ended."""
        self.last_answers: dict[str, EngineSession] = {}
        """Sessions that are closed, but for the poll that fetches their last packets."""
        self._origins, self._keep = origins or Origins(log=log), keep
        self._mark = f"{front_end}." if front_end else ""
        most = limits.max_message_bytes
        self._max_text = limits.max_text_bytes + BESIDE_BYTES
        self._ws_limits = replace(limits, max_message_bytes=most + BESIDE_BYTES)
        self._base64_limits = replace(limits, max_message_bytes=most + most // 2)

    def send(self, sid: str, group: Group) -> bool:
        """Send packets that belong together; whether the session is open. Never blocks."""
        session = self.sessions.get(sid)
        return session is not None and session.send(group)

    def new_id(self) -> str:
        """An id that nobody can guess, and that no other front end gives."""
        return self._mark + secrets.token_urlsafe(15)

    def close(self, sid: str) -> None:
        """Close a session; never blocks. Harmless when it has gone."""
        session = self.sessions.get(sid)
        if session is not None:
            session.close("server disconnect")

    def who(self, sid: str) -> str:
        """Whose session it is, for the log."""
        session = self.sessions.get(sid)
        return f"client {sid}" if session is None else session.who

    def owner(self, sid: str) -> str:
        """Whose session it is, as `limits.hit` has it; "" when it is gone."""
        session = self.sessions.get(sid)
        return "" if session is None else session.account.owner

    # What sessions call.

    def forget(self, session: EngineSession, *, orderly: bool) -> None:
        """The session is closed: nothing finds it any more but the poll that fetches its last answer."""
        del self.sessions[session.sid]
        self.admission.leave(session)
        if session.ws is None:  # else what it still has to be sent is charged to it until the WebSocket has ended
            hub.call_later(LAST_ANSWER_SECONDS, session.account.close)
        if orderly and session.poll is None:
            self.last_answers[session.sid] = session
            hub.call_later(LAST_ANSWER_SECONDS, self.last_answers.pop, session.sid, None)

    # The HTTP side.

    def handle_request(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI application."""
        request = EngineRequest(environ, start_response, self._origins)
        try:
            self._check_page(environ)
            if request.method == "OPTIONS":
                return request.answer_preflight()
            request.parse()
            if request.jsonp is not None:
                self._check_page(environ, script=True)
            if request.sid:
                return self._go_on(request)
            if request.method != "GET":
                raise EngineRefusal(BAD_METHOD)
            return self._begin(request)
        except EngineRefusal as refusal:
            return request.refuse(refusal)

    def _check_page(self, environ: WSGIEnvironment, *, script: bool = False) -> None:
        """Refuse pages that may not use the server. EngineRefusal."""
        if refused := self._origins.refusal(environ, script=script):
            raise EngineRefusal(FORBIDDEN, "403 Forbidden", sentence=refused)

    def _begin(self, request: EngineRequest) -> Iterable[bytes]:
        """Open a session."""
        self.admission.check(request.address, len(self.sessions))
        request.kept = self._keep(request.environ)
        if request.transport == "websocket":
            return self._over_websocket(request, None)
        self.admission.enter(request.address)
        session = self._new(request, request.environ["transport.account"].another())
        with session:
            session.open(None)
            self.connect(session)
        return request.answer_packets(session.queue.take_answer(), session.base64)

    def _find(self, request: EngineRequest) -> EngineSession:
        """The session that a request names; for a poll also one that is closed and has a last answer. EngineRefusal."""
        session = self.sessions.get(request.sid)
        if request.polls and (session is None or not session.heartbeat.verdict()):
            session = self.last_answers.pop(request.sid, None)
        if session is None or session.codec is not request.codec:
            raise EngineRefusal(SESSION_UNKNOWN)
        return session

    def _go_on(self, request: EngineRequest) -> Iterable[bytes]:
        """Serve a request of a session that is there."""
        session = self._find(request)
        if request.transport == "websocket":
            return self._over_websocket(request, session)
        if request.method == "POST":
            polling.settle(session)
        if session.state is EngineState.WEBSOCKET:
            raise EngineRefusal(BAD_REQUEST)
        if request.polls:
            forget_headers(request.environ)
            return polling.poll(request, session)
        if request.method == "POST":
            return polling.post(request, session)
        raise EngineRefusal(BAD_METHOD)

    def _over_websocket(self, request: EngineRequest, session: EngineSession | None) -> Iterable[bytes]:
        """Upgrade the request to a WebSocket, for a new session or for one that is on polling."""
        base64 = request.base64 if session is None else session.base64
        account = request.environ["transport.account"].another() if session is None else session.account
        limits = self._base64_limits if base64 else self._ws_limits
        ws = accept(request.environ, limits, account, max_text=None if base64 else self._max_text)
        if ws is None:
            raise EngineRefusal(BAD_REQUEST, headers=[("Sec-WebSocket-Version", "13")])
        try:
            if session is None:
                session = new = self._new(request, account)
                websocket.begin(new, ws, lambda: self.connect(new))
            else:
                websocket.move(session, ws, self.limits.join_time, self.admission.upgraded)
        finally:
            ws.ended()
            if session is None or not session.is_open:
                account.close()
        return []

    def _new(self, request: EngineRequest, account: Account) -> EngineSession:
        sid, query = self.new_id(), request.environ["QUERY_STRING"]
        session = EngineSession(self, sid, request.codec, request.base64, request.address, query, account)
        session.kept = request.kept
        self.sessions[sid] = session
        self.admission.begin(session, on_polling=request.transport == "polling")
        return session
