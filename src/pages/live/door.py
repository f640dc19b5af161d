"""`/live`: who may open it, how many, and a connection's life."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import imageserver
from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.accounts.doors import ADMIN, Login
from imageserver.accounts.login import Logins
from imageserver.errors import BodyError, Refused, UsersUnavailable
from imageserver.limits import Limits, hit
from imageserver.news import LATEST, News
from imageserver.pages.live import messages
from imageserver.pages.live.page import LivePage
from imageserver.pages.live.rounds import Rounds
from imageserver.streams.overview import Viewed
from imageserver.transport.budget import owner_of
from imageserver.transport.websocket.connection import WebSocket, accept
from imageserver.transport.websocket.frames import CloseCode
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/live"


class Live:
    """The door of live pages.

    Args:
        rounds: All pages.
        find: Gives the stream of an id, None where there is none.
        logins: Says who is an admin where nobody has to log in, and ends pages whose login holds no longer.
        limits: Those that concern connections, and those that begin with `live_`.
        news: What pages are told of.
    """

    def __init__(
        self,
        rounds: Rounds,
        find: Callable[[str], Viewed | None],
        logins: Logins,
        limits: Limits,
        news: News = LATEST,
    ) -> None:
        self._rounds, self._find, self._logins, self._news = rounds, find, logins, news
        self._limits = replace(limits, max_message_bytes=messages.MOST_BYTES)
        self._of_address: Counter[str] = Counter()
        self._gauge = metrics.CONNECTIONS.child("live")

    def join(self, request: Request) -> WSGIApplication:
        """Make a WebSocket of the request; what is returned stays until the page goes. Refused: 426, 503."""
        address = owner_of(request.environ.get("REMOTE_ADDR", ""))
        user, admin = request.user, self._is_admin(request.user)
        self._check_room(address)
        ws = accept(request.environ, self._limits)
        if ws is None:
            raise Refused(426, "this address speaks WebSocket", Upgrade="websocket", Sec_WebSocket_Version="13")
        self._of_address[address] += 1
        page = LivePage(
            ws,
            user,
            admin=admin,
            find=self._find,
            news=self._news,
            limits=self._limits,
            due=self._rounds.due,
        )
        return functools.partial(self._serve, page, address)

    def run(self) -> None:
        """Send pages what they are to have, for ever; spawn it."""
        self._rounds.run()

    def departures(self) -> list[Callable[[], None]]:
        """What ends each page's connection, for the server is going down: they come back to the next one."""
        code, reason = CloseCode.SERVICE_RESTART, "the server is stopping"
        return [functools.partial(page.ws.close, code, reason) for page in self._rounds.pages]

    def _check_room(self, address: str) -> None:
        """Refuse a page too many (503), in all or of an address, which may have a quarter of them."""
        most, own = self._limits.live_pages, self._of_address[address]
        full = self._of_address.total() >= most
        if full or own >= max(1, most // 4):
            hit("live_pages", address)
            where = "on this server" if full else "at your address"
            sentence = f"{most if full else own} live pages are open {where}: close one, or try again later"
            raise Refused(503, sentence, Retry_After="30")

    def _is_admin(self, user: User | None) -> bool:
        if user is not None:
            return user.has(ADMIN)
        try:
            return not self._logins.asked(Login.USERS)
        except UsersUnavailable:
            return False

    def _serve(
        self, page: LivePage, address: str, _environ: WSGIEnvironment, _start_response: StartResponse
    ) -> Iterable[bytes]:
        ws, user = page.ws, page.user
        self._gauge.value += 1
        login = None if user is None else self._logins.live.add(user, functools.partial(_end, ws))
        name, roles = (user.name, sorted(user.roles)) if user else (None, [])
        ws.write(messages.message("hello", version=imageserver.__version__, user=name, roles=roles))
        try:
            self._rounds.add(page)
            while (text := ws.receive()) is not None:
                self._take(page, text)
        finally:
            self._rounds.remove(page)
            self._gauge.value -= 1
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]
            if login is not None:
                login.close()
            ws.ended()
        return []

    def _take(self, page: LivePage, text: str | bytes) -> None:
        if isinstance(text, bytes):
            page.ws.close(CloseCode.UNSUPPORTED_DATA, "send text")
            return
        try:
            self._rounds.take(page, messages.parse(text))
        except BodyError as error:
            page.ws.close(CloseCode.POLICY_VIOLATION, str(error))


def _end(ws: WebSocket, sentence: str) -> None:
    ws.close(CloseCode.POLICY_VIOLATION, sentence)


def application(live: Live, access: Access, *, log: Callable[[str], None]) -> Application:
    """The application for `/live`."""
    return Application([Route("GET", PATH, live.join)], access, log=log, nothing=f"{PATH} has nothing below it")
