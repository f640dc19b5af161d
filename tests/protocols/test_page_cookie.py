"""Pages that are logged in connect to Socket.IO by their cookie: real sockets, both generations, both transports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
import websocket
from tests.conformance.peer import framed
from tests.passwords import CHEAP
from tests.protocols.sockets import World
from tests.running import PATIENCE, Server

from imageserver.accounts import credentials
from imageserver.accounts.database import UserDB
from imageserver.errors import ConnectionRefused
from imageserver.transport.http.origins import Origins
from imageserver.web import page_cookie

WAYS = [(transport, version) for transport in ("websocket", "polling") for version in (3, 4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def users(folder: Path) -> UserDB:
    found = UserDB(folder / "users.db", CHEAP)
    for role in ("camera", "viewer"):
        found.add(role, "secret", roles=[role])
    return found


@pytest.fixture(scope="module")
def server(folder: Path, users: UserDB) -> Iterator[Server]:
    with Server("-a", "--session-models", "sleeper", data=folder) as running:
        yield running.ready()


class Page:
    """A page's connection, in which the browser shows its cookie at the handshake and nowhere else.

    Attributes:
        joined: What the server said to its CONNECT.
    """

    def __init__(self, server: Server, transport: str, version: int, cookie: str, *, origin: str = "") -> None:
        self._version, self._transport = version, transport
        query = {"EIO": version, "transport": transport, **({"page": 1} if version == 3 else {})}
        self._url = f"{server.url}/socket.io/?{urlencode(query)}"
        headers = {"Cookie": f"other=1; {page_cookie.NAME}={cookie}", "Origin": origin or server.url}
        self._waiting: list[str] = []
        if transport == "websocket":
            address = self._url.replace("http", "ws")
            header = {"Cookie": headers["Cookie"]}
            self._ws = websocket.create_connection(address, timeout=PATIENCE, header=header, origin=headers["Origin"])
        else:
            self._http = requests.Session()
            answer = self._http.get(self._url, headers=headers, timeout=PATIENCE)
            answer.raise_for_status()
            self._take(answer.text)
        opened = json.loads(self.recv()[1:])
        if transport == "polling":
            self._url += f"&sid={opened['sid']}"
        if version == 4:
            self.send('40{"page":true}')
        self.joined = self.recv()

    def send(self, packet: str) -> None:
        if self._transport == "websocket":
            self._ws.send(packet)
        else:
            self._http.post(self._url, framed(self._version, packet), timeout=PATIENCE).raise_for_status()

    def recv(self) -> str:
        """The next packet that is none of the heartbeat."""
        while True:
            if self._transport == "websocket":
                self._waiting.append(str(self._ws.recv()))
            elif not self._waiting:
                self._take(self._http.get(self._url, timeout=PATIENCE).text)
            if (packet := self._waiting.pop(0)) != "2":
                return packet
            self.send("3")

    def call(self, event: str, argument: Any) -> Any:
        """The acknowledgement of an event."""
        self.send(f"427{json.dumps([event, argument])}")
        return json.loads(json.loads(self.recv()[3:])[0])

    def _take(self, text: str) -> None:
        if self._version == 4:
            self._waiting += text.split("\x1e")
        while self._version == 3 and text:
            length, _, rest = text.partition(":")
            self._waiting.append(rest[: int(length)])
            text = rest[int(length) :]

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._transport == "websocket":
            self._ws.shutdown()
        else:
            self._http.close()


def cookie_of(server: Server, name: str) -> str:
    """Log in as a page does."""
    answer = requests.post(f"{server.url}/login", json={"user": name, "password": "secret"}, timeout=PATIENCE)
    return answer.cookies[page_cookie.NAME]


@pytest.mark.parametrize(("transport", "version"), WAYS)
def test_the_cookie_counts_as_its_user_until_it_ends(
    server: Server, users: UserDB, transport: str, version: int
) -> None:
    cookie = cookie_of(server, "camera")
    with Page(server, transport, version, cookie) as page:
        assert page.joined.startswith("40"), page.joined
        assert page.call("configure", {"hz": 0}) == {"success": True}
        users.revoke(cookie.split("_")[1])
        assert page.recv() == "41", "the end of the login ends its connections"
    with Page(server, transport, version, cookie) as page:
        sentence = json.dumps(credentials.PAGE_ENDED)
        assert page.joined == (f"44{sentence}" if version == 3 else f'44{{"message":{sentence}}}')


@pytest.mark.parametrize(("transport", "version"), WAYS)
def test_the_doors_ask_the_role_of_its_user(server: Server, transport: str, version: int) -> None:
    with Page(server, transport, version, cookie_of(server, "viewer")) as page:
        refused = page.call("configure", {"hz": 0})
        assert refused == {"success": False, "error": "this takes a user with the role camera or admin"}


@pytest.mark.parametrize("cookie", ["", "isp_0123456789ab_" + "0" * 64, "nonsense", "x" * 5000])
@pytest.mark.parametrize(("transport", "version"), WAYS)
def test_a_wrong_one_is_refused(server: Server, transport: str, version: int, cookie: str) -> None:
    with Page(server, transport, version, cookie) as page:
        assert page.joined.startswith("44"), page.joined
        assert credentials.PAGE_ENDED in page.joined


@pytest.mark.parametrize(("transport", "version"), WAYS)
def test_a_page_of_elsewhere_is_refused_before_it_is_looked_at(server: Server, transport: str, version: int) -> None:
    cookie = cookie_of(server, "camera")
    with pytest.raises((websocket.WebSocketBadStatusException, requests.HTTPError), match="403"):
        Page(server, transport, version, cookie, origin="http://evil.example")


def test_an_expired_one_is_refused(server: Server, folder: Path) -> None:
    long_ago = UserDB(folder / "users.db", CHEAP, clock=lambda: 1_770_000_000.0)
    user = long_ago.check("camera", "secret")
    assert user is not None
    with Page(server, "websocket", 4, long_ago.open_page(user, "127.0.0.1")) as page:
        assert credentials.PAGE_ENDED in page.joined


def test_one_that_does_not_ask_for_it_is_nobody() -> None:
    world = World(auth=True)
    world.users.add("camera", "secret", roles=["camera"])
    user = world.users.check("camera", "secret")
    assert user is not None
    environ = {"REMOTE_ADDR": "192.0.2.1", "QUERY_STRING": "", "KEPT": world.users.open_page(user, "192.0.2.1")}
    connect = world.sockets.handlers["connect"]
    connect("silent", environ, None)
    assert world.frame("silent").startswith("authenticate first")
    connect("page", environ, {"page": True})
    assert world.frame("page") == ""
    assert world.begin("page") == ""
    with pytest.raises(ConnectionRefused, match="the user or the password is wrong"):
        connect("other", environ, {"page": True, "user": "x", "password": "y"})


def test_an_ended_one_is_nobody_where_nobody_need_log_in() -> None:
    world = World()
    environ = {"REMOTE_ADDR": "192.0.2.1", "QUERY_STRING": "", "KEPT": "isp_0123456789ab_" + "0" * 64}
    world.sockets.handlers["connect"]("page", environ, {"page": True})
    assert world.frame("page") == ""


def test_what_is_kept_of_a_handshake_is_short_and_of_trusted_pages() -> None:
    cookie = "isp_0123456789ab_" + "0" * 64
    environ = {
        "wsgi.url_scheme": "http", "HTTP_HOST": "10.0.0.1:8080", "REQUEST_METHOD": "GET", "PATH_INFO": "/socket.io/",
        "HTTP_COOKIE": f"{page_cookie.NAME}={cookie}", "HTTP_ORIGIN": "http://10.0.0.1:8080",
    }  # fmt: skip
    assert page_cookie.of_handshake(environ, Origins()) == cookie
    assert page_cookie.of_handshake(environ, Origins("*")) == cookie, "its own"
    foreign = {**environ, "HTTP_ORIGIN": "http://friend.example"}
    assert page_cookie.of_handshake(foreign, Origins("*")) == "", "any page may come, none with what a browser keeps"
    assert page_cookie.of_handshake(foreign, Origins("http://friend.example")) == cookie
    long = {**environ, "HTTP_COOKIE": f"{page_cookie.NAME}={'x' * 129}"}
    assert page_cookie.of_handshake(long, Origins()) == ""
    assert page_cookie.of_handshake({**environ, "HTTP_COOKIE": "other=1"}, Origins()) == ""
