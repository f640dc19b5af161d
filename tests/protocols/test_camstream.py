"""CamStream over real sockets: a real server process, python-socketio's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import socketio
from tests.conformance.peer import Peer
from tests.running import Camera, CheapServer, Server, picture, until
from tests.transport.sio import Sio


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with CheapServer(
        "-a", "--user", "alice:wonder:land", "--user", "bob:builder", data=tmp_path_factory.mktemp("data")
    ) as running:
        yield running.ready()


@pytest.mark.parametrize("transports", [("websocket",), ("polling",), ("polling", "websocket")])
def test_a_frame_comes_back_as_a_prediction(server: Server, transports: tuple[str, ...]) -> None:
    with Camera(server, transports) as camera:
        assert camera.login("alice", "whatever") is True
        answer = camera.ask(picture(200))
        assert answer["label"] == "200"
        assert (answer["model"], answer["seq"], answer["dropped"]) == ("echo", 1, 0)
        assert answer["age_ms"] >= 0
        assert answer["timestamp"] > 1_700_000_000_000
        assert camera.ask(picture(30))["seq"] == 2


def test_early_apps_never_authenticate_and_are_served(server: Server) -> None:
    with Camera(server) as camera:
        assert camera.ask(picture(90))["label"] == "90"


def test_the_answer_to_a_login_goes_to_its_client_alone_under_the_name_it_asked_for(server: Server) -> None:
    with Camera(server) as one, Camera(server) as other:
        one.client.emit("authenticate", ("one", "x", "my own event"))
        until(lambda: one.others, "the callback event")
        assert one.others == [("my own event", (True,))]
        assert other.ask(picture())["seq"] == 1
        assert (other.others, other.logins) == ([], [])


def test_what_is_no_picture_gets_an_error_and_the_connection_stays(server: Server) -> None:
    with Camera(server) as camera:
        assert "error" in camera.ask(b"this is no picture")
        assert camera.ask(picture(60))["seq"] == 2
        camera.client.emit("receiveImage", "a text")
        until(lambda: len(camera.errors) == 2, "an error")
        assert camera.errors[1]["seq"] == 3
        camera.client.emit("receiveImage")
        until(lambda: len(camera.errors) == 3, "an error")
        for odd in ({"picture": 1}, [1, 2], 7, None):
            camera.client.emit("receiveImage", odd)
        until(lambda: len(camera.errors) == 7, "an error for each")
        assert camera.ask(picture(60))["seq"] == 9


def test_two_clients_of_one_user_are_two_streams(server: Server) -> None:
    with Camera(server) as first, Camera(server) as second:
        assert first.login("alice", "x")
        assert second.login("alice", "x")
        assert first.ask(picture(10))["seq"] == 1
        assert second.ask(picture(20))["label"] == "20"
        second.client.disconnect()
        assert first.ask(picture(11))["label"] == "11"


def test_leaving_before_authenticating_is_normal(server: Server) -> None:
    for _ in range(3):
        with Camera(server):
            pass
    with Camera(server) as camera:
        assert camera.ask(picture(1))["label"] == "1"
    assert "Traceback" not in server.text


def test_configure_changes_model_and_rate(server: Server) -> None:
    with Camera(server) as camera:
        assert camera.configure(model="slow", hz=3) == {"success": True}
        assert camera.ask(picture())["model"] == "slow"
        assert camera.configure(model="echo", hz=0) == {"success": True}
        assert camera.ask(picture(44))["label"] == "44"
        assert json.loads(camera.client.call("configure", '{"hz": 2}')) == {"success": True}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "nix"}, "no model 'nix'"),
        ({"model": 5}, "not 5"),
        ({"hz": -1}, "not -1"),
        ({"hz": "fast"}, "'fast'"),
        ({"hz": True}, "True"),
        ({"hz": 10**400}, "not 1000"),
        ({"hz": 1e7}, "not 10000000.0"),
        ({"model": ["x" * 1000]}, "not a list"),
        ({"x" * 1000: 1}, "x…"),
        ({"speed": 3}, "'speed'"),
        ({}, "object like"),
    ],
)
def test_configure_says_what_is_wrong(server: Server, options: dict[str, object], words: str) -> None:
    with Camera(server) as camera:
        answer = camera.configure(**options)
        assert answer["success"] is False
        assert words in answer["error"]


def test_an_unknown_event_is_answered_when_it_asks(server: Server) -> None:
    with Camera(server) as camera:
        camera.client.emit("no such event", 1)
        answer = json.loads(camera.client.call("no such event", {"x": 1}))
        assert answer["success"] is False
        assert "'no such event'" in answer["error"]


def test_strangers_frames_are_refused_and_never_decoded(guarded: Server) -> None:
    with Camera(guarded) as alice, Camera(guarded) as bob, Camera(guarded) as stranger:
        assert alice.login("alice", "wonder:land") is True
        assert bob.login("bob", "builder") is True
        for _ in range(3):
            assert "authenticate" in stranger.ask(b"even what is no picture gets the same answer")["error"]
            assert alice.ask(picture(100))["label"] == "100"
            assert bob.ask(picture(200))["label"] == "200"
        assert stranger.predictions == []
        assert stranger.configure(hz=1)["success"] is False
        assert stranger.logins == []


def test_wrong_credentials_hear_false_and_are_disconnected_after_a_while(guarded: Server) -> None:
    with Camera(guarded) as camera:
        assert camera.login("alice", "wrong") is False
        assert "authenticate" in camera.ask(picture())["error"]
        until(lambda: not camera.client.connected, "the disconnect")
    for wrong in (("nobody", "x"), ("", ""), ("alice", ""), ("a" * 5000, "x")):
        with Camera(guarded) as camera:
            assert camera.login(*wrong) is False


def test_a_login_at_the_connect_counts_for_frames(guarded: Server) -> None:
    with Camera(guarded, auth={"user": "alice", "password": "wonder:land"}) as camera:
        assert camera.ask(picture(70))["label"] == "70"
        assert camera.configure(hz=0) == {"success": True}
        assert camera.logins == [], "nobody asked for an answer"
    old = Sio(Peer(guarded.port), 3, user="bob", password="builder")
    old.emit("receiveImage", data=picture(80))
    event, answer = json.loads(old.recv()[2:])
    assert (event, json.loads(answer)["label"]) == ("prediction", "80")
    old.ws.close()


@pytest.mark.parametrize("version", [3, 4])
def test_a_camera_says_its_name_in_the_query(server: Server, version: int) -> None:
    peer = Peer(server.port)
    client = Sio(peer, version, name="front%20door%C3%A9")
    client.emit("receiveImage", data=picture(60))
    event, answer = json.loads(client.recv()[2:])
    assert (event, json.loads(answer)["camera"]) == ("prediction", "front dooré")
    client.ws.close()
    refused = Sio(peer, version, name="x" * 65)
    assert refused.joined.startswith("44")
    assert "cannot be the name of a camera" in refused.joined
    peer.close()


def test_a_wrong_pair_at_the_connect_turns_away(guarded: Server) -> None:
    for wrong in (
        {"user": "alice", "password": "wrong"},
        {"user": "a" * 5000, "password": "x"},
        {"user": 5, "password": 6},
    ):
        with pytest.raises(socketio.exceptions.ConnectionError):
            Camera(guarded, auth=wrong)
    with Camera(guarded, auth={"user": "alice"}) as camera:
        assert "authenticate" in camera.ask(picture())["error"], "a name alone says nothing"
        assert camera.login("alice", "wonder:land") is True
        assert camera.ask(picture(50))["label"] == "50"
    assert "Traceback" not in guarded.text


def test_who_may_not_send_frames_may_connect_and_guesses_are_limited(tmp_path: Path) -> None:
    from imageserver.accounts.database import UserDB

    UserDB(tmp_path / "users.db").add("viewer", "secret", roles=["viewer"])
    with CheapServer("-a", "--login-attempts", "2", data=tmp_path) as server:
        server.ready()
        with Camera(server, auth={"user": "viewer", "password": "secret"}) as camera:
            assert camera.ask(picture())["error"] == "this takes a user with the role camera or admin"
        refused = []
        for _ in range(3):
            client = Sio(Peer(server.port), auth={"user": "viewer", "password": "guess"})
            refused.append(json.loads(client.joined[2:])["message"])
            client.ws.close()
        assert refused[:2] == ["the user or the password is wrong"] * 2
        assert "try again in" in refused[2]


@pytest.mark.parametrize("arguments", [(), (1, 2, 3), ("alice",), (None, None, None), ({"a": 1}, [2], b"x")])
def test_a_malformed_login_is_a_refused_one(guarded: Server, arguments: tuple[object, ...]) -> None:
    with Camera(guarded) as camera:
        camera.client.emit("authenticate", arguments or None)
        until(lambda: camera.logins or camera.others, "an answer")
        assert camera.logins in ([False], []), "an event name that is no text falls back to onAuthentication"
        assert "Traceback" not in guarded.text


def test_defaults_of_a_user_apply(tmp_path: Path) -> None:
    from imageserver.accounts.database import UserDB

    UserDB(tmp_path / "users.db").add("alice", "secret", model="slow", rotate=90)
    with Server("-a", data=tmp_path) as server, Camera(server.ready()) as camera:
        assert camera.login("alice", "secret") is True
        answer = camera.ask(picture(width=64, height=48))
        assert (answer["model"], answer["size"]) == ("slow", [48, 64])


def test_results_go_to_standard_output_as_json_with_stream_and_user(tmp_path: Path) -> None:
    with Server("--results", "-", data=tmp_path) as server:
        server.ready()
        with Camera(server) as camera:
            assert camera.login("alice", "x")
            camera.ask(picture(123))
        bob = Sio(Peer(server.port), auth={"user": "bob", "password": "x"}, name="hall")
        bob.emit("receiveImage", data=picture(124))
        bob.recv()
        bob.ws.close()
        with Camera(server) as camera:
            camera.ask(picture(125))
        lines = until(lambda: [line for line in server.lines if line.startswith("{")][2:] and server.lines, "results")
        found = [json.loads(line) for line in lines if line.startswith("{")]
        assert [(line["user"], line["label"], line["seq"]) for line in found[:2]] == [
            ("alice", "123", 1),
            ("bob", "124", 1),
        ]
        assert [line.get("camera") for line in found] == [None, "hall", None]
        assert found[2]["user"] == found[2]["stream"], "nobody has said who that is"
        assert len({line["stream"] for line in found}) == 3
