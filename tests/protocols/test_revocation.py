"""Connections over real sockets end when their login no longer holds: both generations, on both transports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.conformance.peer import Peer, framed
from tests.passwords import CHEAP
from tests.protocols.sockets import TIME
from tests.running import PATIENCE, Camera, Server, picture, until
from tests.transport.sio import PATH, Sio

from imageserver.accounts.database import UserDB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def users(folder: Path) -> UserDB:
    found = UserDB(folder / "users.db", CHEAP)
    found.add("guard", "secret", roles=["viewer"])
    return found


@pytest.fixture(scope="module")
def server(folder: Path, users: UserDB) -> Iterator[Server]:
    options = ("-a", "--session-models", "sleeper", "--session-key", "sesame", "--close-time", "1s")
    with Server(*options, data=folder) as running:
        yield running.ready()


class Poller:
    """A camera on polling, by hand."""

    def __init__(self, server: Server, version: int, **shown: str) -> None:
        self.peer, self.version = Peer(server.port), version
        self.query: dict[str, object] = {"EIO": version, "transport": "polling"}
        opened = self.peer.request("GET", PATH, **self.query, **(shown if version == 3 else {})).text
        self.query["sid"] = opened[opened.index('"sid":"') + 7 :].partition('"')[0]
        if version == 4:
            self.post("40" + json.dumps(shown))
            self.get()

    def post(self, packet: str) -> requests.Response:
        return self.peer.request("POST", PATH, framed(self.version, packet), **self.query)

    def get(self) -> requests.Response:
        return self.peer.request("GET", PATH, **self.query)

    def ended(self) -> bool:
        """Whether the server has turned it out, and says so."""
        answer = self.get()
        if answer.status_code == 400:
            return True
        return "41" in answer.text and answer.text.endswith("1")


def streams(server: Server) -> tuple[int, int]:
    """How many streams and sessions there are."""
    text = requests.get(server.url + "/metrics", auth=("guard", "secret"), timeout=PATIENCE).text
    found = [re.search(rf"^imageserver_{what} (\d+)", text, re.MULTILINE) for what in ("streams", "sessions")]
    assert all(found), text
    return int(found[0][1]), int(found[1][1])  # type: ignore[index]


@pytest.mark.parametrize("how", ["removed", "revoked"])
def test_every_connection_of_a_login_ends_and_its_stream_and_session_with_it(
    server: Server, users: UserDB, how: str
) -> None:
    users.add("alice", "secret", roles=["camera", "viewer"])
    _token, text = users.add_token("alice")
    shown = {"token": text} if how == "revoked" else {"user": "alice", "password": "secret"}
    peer = Peer(server.port)
    sockets = [Sio(peer, 4, auth=shown), Sio(peer, 3, **shown)]
    unread = Sio(peer, 4, auth=shown)
    pollers = [Poller(server, version, **shown) for version in (3, 4)]
    key, by_event = Camera(server, auth={"key": "sesame"}), Camera(server)
    assert by_event.login("alice", text if how == "revoked" else "secret") is True
    assert by_event.ask(picture(90))["label"] == "90"
    for one in (*sockets, unread):
        one.emit("session_start", data=TIME)
        one.emit("receiveImage", data=picture())
    assert json.loads(key.client.call("session_start", TIME, timeout=PATIENCE)) == {"success": True}
    until(lambda: streams(server) == (4, 4), "streams and sessions")

    if how == "revoked":
        users.revoke(text)
    else:
        users.remove("alice")
    for one in sockets:
        one.closed()
    until(lambda: all(poller.ended() for poller in pollers), "the end of polling")
    until(lambda: not by_event.client.connected, "the disconnect")
    until(lambda: streams(server) == (0, 1), "the end of all but the session by key")
    assert key.client.connected
    unread.closed()
    for camera in (key, by_event):
        camera.__exit__()
    for one in (peer, *(poller.peer for poller in pollers)):
        one.close()
    until(lambda: streams(server) == (0, 0), "the end of the session by key")
    if how == "revoked":
        users.remove("alice")
