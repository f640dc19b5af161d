"""What cameras are called who come, go and come back: over real sockets of both generations, and at the protocols."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import requests
from tests.conformance.peer import Peer
from tests.passwords import CHEAP
from tests.protocols.sockets import World
from tests.running import PATIENCE, CheapServer, Server, picture, until
from tests.transport.sio import Sio

from imageserver.accounts.database import UserDB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that knows alice, bob, carol with a name for her camera, and an admin; and its results on standard output."""
    data = tmp_path_factory.mktemp("data")
    users = UserDB(data / "users.db", CHEAP)
    for name in ("alice", "bob"):
        users.add(name, name)
    users.add("carol", "carol", camera="yard")
    users.add("ann", "ann", ["admin"])
    heartbeats = ["--ping-interval", "1", "--ping-timeout", "0.5", "--login-attempts", "0"]
    with CheapServer("-a", *heartbeats, "--results", "-", data=data) as running:
        yield running.ready()


class Phone:
    """A camera of a generation, which says nothing of its own accord: no heartbeat, and no farewell when it is lost."""

    def __init__(self, server: Server, generation: int, user: str, camera: str = "") -> None:
        login = {"user": user, "password": user}
        said = {"name": camera.replace(" ", "%20")} if camera else {}
        self.peer = Peer(server.port)
        if generation == 4:
            self._sio = Sio(self.peer, 4, login, **said)
        else:
            self._sio = Sio(self.peer, 3, **login, **said)

    def ask(self) -> dict[str, Any]:
        """Send a frame; its prediction. Whatever heartbeat is due is sent and answered meanwhile."""
        self._sio.emit("receiveImage", data=picture())
        if self._sio.version == 3:
            self._sio.ws.send("2")
        while not str(text := self._sio.recv()).startswith('42["prediction"'):
            pass
        found: dict[str, Any] = json.loads(json.loads(text[2:])[1])
        return found

    def close(self) -> None:
        self.peer.close()


def streams(server: Server, name: str) -> list[dict[str, Any]]:
    rows = requests.get(f"{server.url}/streams/", auth=("ann", "ann"), timeout=PATIENCE).json()
    return [row for row in rows if row["name"].startswith(name)]


def test_a_camera_whose_connection_was_lost_has_its_name_at_once_when_it_connects_again(server: Server) -> None:
    with ExitStack() as ending:

        def phones(user: str) -> list[Phone]:
            found = [Phone(server, generation, user, f"front door {generation}") for generation in (3, 4)]
            for each in found:
                ending.callback(each.close)
            return found

        def called(phones: list[Phone]) -> list[str]:
            return [each.ask()["camera"] for each in phones]

        assert called(phones("alice")) == ["front door 3", "front door 4"]
        again, others = phones("alice"), phones("bob")
        assert called(again) == ["front door 3", "front door 4"], "the former connections are there, and say nothing"
        assert called(others) == ["front door 3 (2)", "front door 4 (2)"], "they are another user's"
        assert len(streams(server, "front door")) == 6
        until(
            lambda: called(again) and called(others) and len(streams(server, "front door")) == 4,
            "the end of the former ones by their heartbeats",
        )
        assert called(again + others) == ["front door 3", "front door 4", "front door 3 (2)", "front door 4 (2)"]
        rows = streams(server, "front door")
        assert {row["name"]: row["user"] for row in rows} == {
            "front door 3": "alice",
            "front door 4": "alice",
            "front door 3 (2)": "bob",
            "front door 4 (2)": "bob",
        }
        assert all(row["camera"] == row["name"] for row in rows)


@pytest.mark.parametrize("generation", [3, 4])
def test_of_two_that_both_send_the_former_one_gets_a_number_and_gives_it_back(server: Server, generation: int) -> None:
    name = f"hall {generation}"
    with closing(Phone(server, generation, "alice", name)) as second:
        with closing(Phone(server, generation, "alice", name)) as first:
            assert second.ask()["camera"] == name
            assert [each.ask()["camera"] for each in (first, second, first)] == [name, f"{name} (2)", name]
            found = requests.get(f"{server.url}/streams/{name} (2).json", auth=("ann", "ann"), timeout=PATIENCE)
            assert found.json()["camera"] == f"{name} (2)"
        until(lambda: len(streams(server, name)) == 1, "the end of the first")
        with closing(Phone(server, generation, "bob", name)) as third:
            assert third.ask()["camera"] == name, "it is free"


def test_a_camera_that_cannot_say_its_name_has_the_one_that_is_set_and_an_admin_gives_it_another(
    server: Server,
) -> None:
    with closing(Phone(server, 3, "carol")) as camera, closing(Phone(server, 4, "alice", "x.y")) as other:
        assert camera.ask()["camera"] == "yard"
        assert other.ask()["camera"] == "x.y"
        url = f"{server.url}/streams/yard"
        refused = requests.post(url, json={"name": "x.y"}, auth=("ann", "ann"), timeout=PATIENCE)
        assert (refused.status_code, refused.json()) == (409, {"error": "another camera is called 'x.y'"})
        assert requests.post(url, json={"name": "z"}, auth=("bob", "bob"), timeout=PATIENCE).status_code == 403
        renamed = requests.post(url, json={"name": "gärten"}, auth=("ann", "ann"), timeout=PATIENCE)
        assert renamed.json()["name"] == "gärten"
        assert camera.ask()["camera"] == "gärten"
        figures = requests.get(f"{server.url}/metrics", auth=("ann", "ann"), timeout=PATIENCE).content.decode()
        assert 'camera_frames_received_total{camera="gärten",protocol="camstream"} 2.0\n' in figures
    results = until(lambda: [line for line in server.lines if '"user": "carol"' in line][1:], "a second result")
    assert json.loads(results[0])["camera"] == "gärten"


# ---- the protocols, everything above the transport --------------------------------------------------------------


def names(made: World) -> dict[str, str]:
    return {stream.id: stream.name for stream in made.streams.open_streams.values()}


def test_nobody_who_may_not_send_takes_a_name_from_who_may() -> None:
    made = World(auth=True)
    made.users.add("alice", "secret")
    made.users.add("vic", "secret", ["viewer"])
    assert made.connect("stranger", "name=door") == ""
    assert made.connect("viewer", "name=door", user="vic", password="secret") == ""
    for sid in ("stranger", "viewer"):
        assert made.frame(sid)
    assert made.connect("camera", "name=door", user="alice", password="secret") == ""
    made.frame("camera")
    assert names(made) == {"stranger": "stranger", "viewer": "vic", "camera": "door"}


def test_a_name_is_of_who_logs_in_later_too() -> None:
    made = World()
    made.users.add("alice", "secret")
    made.users.add("carol", "secret", camera="yard")
    made.connect("1", "name=door")
    made.frame("1")
    assert made.login("1", "alice", "secret") is True
    made.connect("2", "name=door")
    made.frame("2")
    assert names(made) == {"1": "door", "2": "door (2)"}, "nobody is known of the second"
    made.login("2", "alice", "secret")
    made.frame("2")
    made.frame("1")
    assert names(made) == {"1": "door (2)", "2": "door"}, "it is alice's, so the first was taken for lost"
    for sid, password in (("3", "secret"), ("4", "not proved")):
        made.connect(sid)
        made.frame(sid)
        assert names(made)[sid] == sid
        made.login(sid, "carol", password)
        made.frame(sid)
    assert names(made) == {"1": "door (2)", "2": "door", "3": "yard", "4": "yard"}
    made.frame("3")
    assert names(made)["3"] == "yard (2)"


def test_a_stream_and_a_session_of_a_connection_are_one_camera() -> None:
    made = World()
    made.connect("1", "name=door")
    assert made.begin("1") == ""
    (session,) = made.sessions.open_sessions.values()
    made.frame("1")
    assert (session.name, names(made)) == ("door", {"1": "door"})
    assert made.streams.names.rename(session.called, "yard")
    assert (session.camera, session.counts_as, names(made)) == ("yard", "yard", {"1": "yard"})
    made.login("1", "alice", "anything")
    assert session.running, "it is the same camera"
    made.connect("2", "name=door")
    assert made.begin("2") == ""
    made.frame("2")
    assert names(made) == {"1": "yard", "2": "door"}
    for sid in ("1", "2"):
        made.sockets.handlers["disconnect"](sid, "gone")
    assert made.streams.names.find("door") == made.streams.names.find("yard") == []
