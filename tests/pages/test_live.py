"""The live page's connection over real sockets: who may, what is told, rounds, and what it costs others."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import websocket
from tests.pages.viewer import QuickViewer, Viewer
from tests.passwords import CHEAP
from tests.running import PATIENCE, TEST_MODELS, Camera, CheapServer, Server, picture, until

from imageserver.accounts.database import ROLES, UserDB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


@pytest.fixture
def camera(server: Server) -> Iterator[Camera]:
    with Camera(server) as found:
        yield found


def sid(camera: Camera) -> str:
    """The id of a camera's stream."""
    found: str = camera.client.get_sid()
    return found


# ---- rounds ---------------------------------------------------------------------------------------------------------


def test_a_page_is_greeted_and_told_how_everything_is(server: Server) -> None:
    with Viewer(server) as page:
        assert page.hello["type"] == "hello"
        assert (page.hello["user"], page.hello["roles"]) == (None, [])
        state, end = [message for message in page.round() if message["type"] != "event"]
        assert end == {"type": "round", "n": 1}
        assert {"type", "at", "streams", "total", "models", "server", "snippets", "trainings"} == state.keys()
        echo = next(model for model in state["models"] if model["name"] == "echo")
        assert (echo["state"], echo["runtime"], echo["error"], echo["queue"]) == ("ready", "python", "", 0)
        about = state["server"]
        assert about["version"] == page.hello["version"]
        assert about["workers"] == 1 and about["memory"] > 10e6 and about["connections"]["live"] == 1
        assert 0 <= about["budget"]["used"] < about["budget"]["total"]


def test_frames_of_watched_streams_come_as_they_came(server: Server, camera: Camera) -> None:
    first, second = picture(10), picture(20)
    with Viewer(server) as page:
        camera.ask(first)  # before anybody looks
        row = page.listed(sid(camera))
        assert row["kind"] == "stream" and row["size"] == [64, 48]
        page.say(watch=[row["id"]])
        frame = page.until("frame")
        assert frame["picture"] == first
        assert (frame["id"], frame["seq"], frame["kind"], frame["error"]) == (row["id"], 1, "image/jpeg", "")
        assert frame["prediction"] == camera.predictions[-1]
        camera.ask(second)
        assert page.until("frame")["picture"] == second
        camera.ask(b"no picture")
        refused = page.until("frame")
        assert (refused["picture"], refused["kind"], refused["prediction"]) == (b"", "", {})
        assert refused["error"] == camera.errors[-1]["error"]


def test_a_page_that_is_slow_gets_fewer_frames_and_the_newest(server: Server, camera: Camera) -> None:
    camera.ask(picture(1))
    with Viewer(server) as page, QuickViewer(server, sid(camera)) as other:
        page.listed(sid(camera))
        page.say(watch=[sid(camera)])
        page.until("frame")
        before = page.round()  # unanswered
        for grey in range(2, 12):
            camera.ask(picture(grey))
        until(lambda: other.frames > 2, "frames for a page that reads")
        assert page.is_silent()
        page.say(round=before[-1]["n"])
        frames = [message for message in page.round() if message["type"] == "frame"]
        assert [frame["prediction"]["label"] for frame in frames] == ["11"]


def test_a_hidden_page_is_sent_nothing_and_one_that_is_seen_again_the_newest(server: Server, camera: Camera) -> None:
    with Viewer(server) as page, Viewer(server) as witness:
        first = page.round()
        page.say(watch=[sid(camera)])
        page.say(pause=True)
        page.say(round=first[-1]["n"])
        for grey in (5, 6):
            camera.ask(picture(grey))
        for _ in range(2):
            witness.until("state")
        assert page.is_silent()
        page.say(pause=False)
        assert page.until("frame")["prediction"]["label"] == "6"


def test_a_stream_that_is_no_longer_watched_is_not_sent(server: Server, camera: Camera) -> None:
    with Viewer(server) as page, Camera(server) as other:
        page.say(watch=[sid(camera), sid(other)])
        camera.ask(picture(1))
        other.ask(picture(2))
        assert {page.until("frame")["id"] for _ in range(2)} == {sid(camera), sid(other)}
        page.say(watch=[sid(other)])
        camera.ask(picture(3))
        other.ask(picture(4))
        assert page.until("frame")["id"] == sid(other)
        page.until("state")
        assert not [message for message in page.heard[-4:] if message.get("id") == sid(camera)]


def test_the_filter_finds_streams_by_name_user_or_id(server: Server) -> None:
    with Viewer(server) as page, Camera(server) as front, Camera(server) as back:
        front.login("Front Door", "")
        back.login("garden", "")
        for each in (front, back):
            each.ask(picture())
        page.listed("garden")
        for text, expected in (("ront D", ["Front Door"]), ("GARDEN", ["garden"]), (sid(front), ["Front Door"])):
            page.say(filter=text)
            state = page.until("state", lambda state, want=expected: [r["name"] for r in state["streams"]] == want)
            assert state["total"] == 1
        page.say(filter="nobody has this")
        page.until("state", lambda state: state["total"] == 0)
        page.say(filter="")
        page.until("state", lambda state: state["total"] >= 2)


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        ("no JSON", 1008, "a page says"),
        ("[" * 5000, 1008, "a page says"),
        ('"round"', 1008, "a page says"),
        ('{"round": 1, "pause": true}', 1008, "a page says"),
        ('{"round": true}', 1008, "a page says"),
        ('{"round": 77}', 1008, "there was no round 77"),
        ('{"watch": ["a", 1]}', 1008, "a page says"),
        (json.dumps({"watch": ["a"] * 65}), 1008, "65 streams are too many to watch: at most 64"),
        (json.dumps({"filter": "f" * 201}), 1008, "a filter takes at most 200 characters, not 201"),
        (" " * 17_000, 1009, "a message may have 16384 bytes"),
        (b"bytes", 1003, "send text"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_no_page_says_ends_it_with_a_sentence(server: Server, said: Any, code: int, sentence: str) -> None:
    with Viewer(server) as page:
        (page.ws.send_binary if isinstance(said, bytes) else page.ws.send)(said)
        end = page.until("closed")
        assert end["code"] == code and end["text"].startswith(sentence), end


def test_who_asks_without_a_websocket_is_told_so(server: Server) -> None:
    answer = requests.get(f"{server.url}/live", timeout=PATIENCE)
    assert (answer.status_code, answer.json()) == (426, {"error": "this address speaks WebSocket"})


# ---- what is told ---------------------------------------------------------------------------------------------------


def test_snippets_are_told(server: Server) -> None:
    with Viewer(server) as page:
        page.until("state", lambda state: not state["snippets"])
        requests.put(f"{server.url}/snippets/7/?name=hall", data=picture(70), timeout=PATIENCE).raise_for_status()
        (row,) = page.until("state", lambda state: state["snippets"])["snippets"]
        assert row["prediction"] == {"model": "echo", "label": "70", "score": 1.0}
        assert (row["id"], row["image"], row["camera"]) == (7, "snippets/7/image", "hall")
        requests.delete(f"{server.url}/snippets/7/", timeout=PATIENCE).raise_for_status()
        page.until("state", lambda state: not state["snippets"])


def test_news_come_to_every_page_and_to_new_ones(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(TEST_MODELS / "echo", models / "echo")
    with Server(data=tmp_path, models=models) as server, Viewer(server.ready()) as page:
        os.kill(server.workers()[0], signal.SIGKILL)
        died = page.until("event", lambda event: event["kind"] == "worker restarted")
        assert re.fullmatch(r"worker 1 ended by signal SIGKILL; .*a new worker starts", died["text"])
        page.until("state", lambda state: state["models"][0]["state"] == "ready")
        manifest = models / "echo" / "model.toml"
        manifest.write_text(manifest.read_text("utf-8").replace("Answers", "Says"), "utf-8")
        replaced = page.until("event", lambda event: event["kind"] == "model replaced")
        assert replaced["text"].startswith("model echo serves in its new version (python, ")
        with Viewer(server) as another:
            told = [message["text"] for message in another.round() if message["type"] == "event"]
            assert told == [died["text"], replaced["text"]]


# ---- who may --------------------------------------------------------------------------------------------------------


def header(name: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{name}".encode()).decode()}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, UserDB]]:
    """A server with `-a`: users with one role each, and one who sees the kitchen alone."""
    data = tmp_path_factory.mktemp("data")
    users = UserDB(data / "users.db", CHEAP)
    for role in ROLES:
        users.add(role, role, (role,))
    users.add("cook", "cook", ("viewer",), only=("kitchen",))
    users.add("kitchen", "kitchen", ("camera",))
    with CheapServer("-a", data=data) as running:
        yield running.ready(), users


def test_viewers_alone_may_look(guarded: tuple[Server, UserDB]) -> None:
    server, _users = guarded
    for headers, status in ((None, 401), (header("nobody"), 401), (header("camera"), 403)):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            Viewer(server, headers=headers)
        assert refused.value.status_code == status
    with Viewer(server, headers=header("viewer")) as page:
        assert (page.hello["user"], page.hello["roles"]) == ("viewer", ["viewer"])


def test_who_is_bound_to_cameras_sees_these_alone(guarded: tuple[Server, UserDB]) -> None:
    server, _users = guarded
    with Camera(server) as kitchen, Camera(server) as other, Viewer(server, headers=header("cook")) as page:
        for each, name in ((kitchen, "kitchen"), (other, "camera")):
            assert each.login(name, name)
            each.ask(picture(50))
        page.listed("kitchen")
        page.say(watch=[sid(other), sid(kitchen)])
        assert page.until("frame")["id"] == sid(kitchen)
        other.ask(picture(51))
        kitchen.ask(picture(52))
        assert page.until("frame")["id"] == sid(kitchen)
        for message in page.heard:
            assert message.get("total", 1) <= 1
            assert sid(other) not in str(message)


def test_news_of_clients_are_an_admins(guarded: tuple[Server, UserDB]) -> None:
    server, _users = guarded
    with Viewer(server, headers=header("viewer")) as viewer, Viewer(server, headers=header("admin")) as admin:
        requests.get(f"{server.url}/metrics", auth=("anna", "wrong"), timeout=PATIENCE)
        refused = admin.until("event", lambda event: "anna" in event["text"])
        assert refused["kind"] == "login refused"
        assert refused["text"] == "login of 'anna' from 127.0.0.1 refused: unknown name or wrong password"
        for _ in range(2):
            viewer.until("state")
        assert not [message for message in viewer.heard if message["type"] == "event"]


def test_a_page_ends_with_its_login(guarded: tuple[Server, UserDB]) -> None:
    server, users = guarded
    users.add("guest", "guest", ("viewer",))
    with Viewer(server, headers=header("guest")) as page:
        page.until("state")
        users.remove("guest")
        end = page.until("closed")
        assert end["code"] == 1008 and end["text"].startswith("this login no longer holds")


# ---- what it costs --------------------------------------------------------------------------------------------------


def test_pages_are_bounded_in_all_and_for_an_address(tmp_path: Path) -> None:
    with Server("--live-pages", "8", data=tmp_path) as server, Viewer(server.ready()), Viewer(server):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            Viewer(server)
        assert refused.value.status_code == 503
        assert b"2 live pages are open at your address" in refused.value.resp_body
        assert b'imageserver_limits_hit_total{limit="live-pages"} 1.0' in server.get("/metrics")[1]


def test_the_servers_end_is_told(tmp_path: Path) -> None:
    with Server(data=tmp_path) as server, Viewer(server.ready()) as page:
        server.process.send_signal(signal.SIGTERM)
        assert page.until("closed") == {"type": "closed", "code": 1012, "text": "the server is stopping"}


def test_a_page_that_reads_nothing_costs_one_round(server: Server, camera: Camera) -> None:
    """Neither memory nor the camera's answers."""
    rng = np.random.default_rng(1)
    frame = picture(100) + rng.bytes(100_000)  # what follows a JPEG's end is nobody's concern
    for _ in range(50):
        camera.ask(frame)
    process = psutil.Process(server.process.pid)
    with QuickViewer(server, sid(camera)) as other, Viewer(server) as page:
        page.ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        page.say(watch=[sid(camera)])
        for _ in range(20):
            camera.ask(frame)
        before = process.memory_info().rss
        for _ in range(200):
            camera.ask(frame)
        until(lambda: other.frames > 10, "frames for a page that reads")
        assert process.memory_info().rss - before < 5 * 2**20
