"""Answers that are sent little by little end when the login they are for holds no longer."""

from __future__ import annotations

import base64
import contextlib
import http.client
from collections.abc import Iterator

import pytest
from tests.passwords import CHEAP

from imageserver.accounts.database import UserDB
from imageserver.accounts.doors import HTTP, Door, DoorTable, Login
from imageserver.accounts.login import Logins
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.http.server import HttpServer
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request, Response


class Site:
    """A server in the test's own loop whose answers never end, and a user."""

    def __init__(self) -> None:
        self.users = UserDB(None, CHEAP)
        self.users.add("ann", "ann", ["viewer"])
        self.logins = Logins(self.users, Limits(), required=False, log=print)
        self.going_on = hub.Event()
        table = DoorTable([Door(HTTP, "GET", "/<what>", Login.AUTH)])
        route = Route("GET", "/<what>", self._answer)
        self.server = HttpServer(hub.listen("127.0.0.1", 0), Limits(), log=print)
        self.server.route("", Application([route], Access(self.logins, Limits(), table), log=print))
        hub.spawn(self.server.serve)

    def _answer(self, _request: Request, what: str) -> Response:
        def silent() -> Iterator[bytes]:
            yield b"begun"
            self.going_on.wait(30.0)

        def loud() -> Iterator[bytes]:
            while True:
                yield b"x" * 2**16

        return Response({"silent": silent, "loud": loud}[what]())

    @property
    def live(self) -> int:
        """How many answers live on a login."""
        return sum(len(group.members) for group in self.logins.live._groups.values())

    def ask(self, what: str, *, login: bool) -> Reader:
        """Ask, and read what comes first."""
        basic = {"Authorization": "Basic " + base64.b64encode(b"ann:ann").decode()}
        return hub.in_thread(Reader, self.server.port, f"/{what}", basic if login else {})


class Reader:
    """Somebody who reads an answer; to be used in threads."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._client.request("GET", path, headers=headers)
        self._response = self._client.getresponse()
        self.status = self._response.status
        assert self._response.read(5) in (b"begun", b"xxxxx", b'{"err')

    def is_cut_off(self) -> bool:
        """Read on, as long as it goes on; whether it has no right end."""
        with contextlib.closing(self._client), contextlib.closing(self._response):
            try:
                while self._response.read(2**20):
                    pass
            except (http.client.IncompleteRead, ConnectionError):
                return True
            return False


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.going_on.set()
    made.server.stop(0.0)
    hub.sleep(0.05)


@pytest.mark.parametrize("what", ["silent", "loud"])
def test_an_answer_ends_with_its_login(site: Site, what: str) -> None:
    found = site.ask(what, login=True)
    site.logins.live.look()
    assert site.live == 1, "as long as it holds, it goes on"
    site.users.passwd("ann", "another")
    hub.spawn_later(0.05, site.logins.live.look)
    assert hub.in_thread(found.is_cut_off)


def test_who_did_not_log_in_is_not_cut_off_and_nothing_is_left_of_who_did(site: Site) -> None:
    stranger, user = site.ask("silent", login=False), site.ask("silent", login=True)
    assert site.live == 1
    site.going_on.set()
    assert not hub.in_thread(stranger.is_cut_off)
    assert not hub.in_thread(user.is_cut_off)
    hub.sleep(0)
    assert site.live == 0


def test_short_answers_are_nobodys_business(site: Site) -> None:
    found = site.ask("no/where", login=True)
    assert (found.status, site.live) == (404, 0)
    assert not hub.in_thread(found.is_cut_off)
