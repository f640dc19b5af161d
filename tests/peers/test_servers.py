"""Front ends that share a Redis: each shows the cameras of all to who may see them, and /ws is one."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import websocket
from tests.passwords import CHEAP
from tests.redis_server import RedisServer
from tests.running import PATIENCE, Camera, CheapServer, Server, picture, until

from imageserver.accounts.database import UserDB
from imageserver.peers import messages
from imageserver.peers.messages import ALL, ROOM

SECRET = "secret"


def ask(server: Server, path: str, user: str = "anna", method: str = "GET", body: Any = None) -> tuple[int, bytes]:
    """Status and body."""
    request = urllib.request.Request(server.url + path, method=method)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{SECRET}".encode()).decode())
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def streams(server: Server, user: str = "anna") -> dict[str, dict[str, Any]]:
    """The list, by the streams' names."""
    status, body = ask(server, "/streams/", user)
    assert status == 200
    return {row["name"]: row for row in json.loads(body)}


def figure(server: Server, name: str) -> float:
    """The sum of a figure."""
    lines = ask(server, "/metrics")[1].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))


def camera(server: Server, name: str) -> Camera:
    """A camera that says its name, and has sent a frame."""
    named: Any = SimpleNamespace(url=f"{server.url}?name={name}")
    found = Camera(named, auth={"user": "cam", "password": SECRET})
    found.ask(picture())
    return found


def opened(server: Server, path: str, user: str = "anna") -> websocket.WebSocket:
    login = "Authorization: Basic " + base64.b64encode(f"{user}:{SECRET}".encode()).decode()
    return websocket.create_connection(
        f"ws://127.0.0.1:{server.port}{path}", timeout=PATIENCE, header=[login], suppress_origin=True
    )


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.db"
    found = UserDB(path, CHEAP)
    found.add("cam", SECRET, ["camera"])
    found.add("anna", SECRET, ["viewer"])
    found.add("root", SECRET, ["admin"])
    found.add("bob", SECRET, ["viewer"], only=["garden"])
    return path


def front_end(name: str, redis: RedisServer, password: Path, users: Path, folder: Path, *more: str) -> CheapServer:
    arguments = ["-a", "--users", str(users), "--redis", redis.address, "--redis-password", str(password), *more]
    return CheapServer(*arguments, "--front-end", name, data=folder)


@pytest.fixture(scope="module")
def servers(
    redis: RedisServer, password: Path, users: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    folders = [tmp_path_factory.mktemp(name) for name in "ab"]
    with (
        front_end("a", redis, password, users, folders[0]) as first,
        front_end("b", redis, password, users, folders[1]) as second,
    ):
        yield first.ready(), second.ready()


def test_a_camera_of_one_is_seen_at_the_other_by_who_may(servers: tuple[Server, Server]) -> None:
    first, second = servers
    with camera(first, "door") as door:
        until(lambda: "door" in streams(second), "the camera at the other front end")
        row = streams(second)["door"]
        assert (row["front_end"], row["user"], row["id"].partition(".")[0]) == ("a", "cam", "a")
        frames = figure(first, "imageserver_redis_frames_total")
        shown = picture(77)
        assert door.ask(shown)["seq"] == 2
        assert figure(first, "imageserver_redis_frames_total") == frames, "nobody looks"
        status, body = ask(second, f"/streams/{row['id']}.jpg")
        assert (status, body) == (200, shown)
        assert json.loads(ask(second, "/streams/door.json")[1])["seq"] == 2
        assert "door" not in streams(second, "bob")
        assert ask(second, f"/streams/{row['id']}.jpg", "bob")[0] == 404
        status, body = ask(second, "/streams/door", "root", "POST", {"hz": 1})
        assert status == 409 and b"at the front end a" in body
    until(lambda: "door" not in streams(second), "its end")
    assert ask(second, "/streams/door.jpg")[0] == 404


def test_a_text_reaches_its_room_at_both(servers: tuple[Server, Server]) -> None:
    first, second = servers
    with contextlib.ExitStack() as stack:
        here, there, elsewhere = (
            stack.enter_context(contextlib.closing(opened(server, path)))
            for server, path in ((first, "/ws/garden"), (second, "/ws/garden"), (second, "/ws/hall"))
        )
        elsewhere.settimeout(0.01)

        def heard() -> bool:
            here.send("snap")
            there.settimeout(0.1)
            try:
                return bool(there.recv() == "snap")
            except websocket.WebSocketTimeoutException:
                return False  # the room is not joined yet

        until(heard, "the text")
        with pytest.raises(websocket.WebSocketTimeoutException):
            elsewhere.recv()


def test_health_says_nothing_while_all_is_well(servers: tuple[Server, Server]) -> None:
    for server in servers:
        until(lambda server=server: figure(server, "imageserver_front_ends") == 1, "the other one")
        assert json.loads(ask(server, "/health/ready")[1]) == {"status": "ready"}


# ---- the long ones -----------------------------------------------------------------------------------------------


def motion(server: Server, key: str) -> Iterator[int]:
    """The lengths of the pictures of a motion JPEG, as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    login = base64.b64encode(f"anna:{SECRET}".encode()).decode()
    connection.request("GET", f"/streams/{key}.mjpeg", headers={"Authorization": f"Basic {login}"})
    with contextlib.closing(connection), connection.getresponse() as answer:
        assert answer.status == 200
        while line := answer.readline():
            if line.lower().startswith(b"content-length:"):
                yield int(line.partition(b":")[2])


@pytest.mark.long
def test_the_live_page_and_motion_show_it_and_stop_costing_anything(servers: tuple[Server, Server]) -> None:
    first, second = servers
    with camera(first, "window") as door:
        until(lambda: "window" in streams(second), "the camera")
        key = streams(second)["window"]["id"]
        with contextlib.closing(opened(second, "/live")) as page:
            page.send(json.dumps({"watch": [key]}))
            seen = []
            end = time.monotonic() + PATIENCE
            while len(seen) < 3:
                assert time.monotonic() < end
                door.ask(picture(len(seen)))
                said = page.recv()
                if isinstance(said, bytes):
                    length = int.from_bytes(said[:4], "little")
                    seen.append(json.loads(said[4 : 4 + length])["id"])
                else:
                    told = json.loads(said)
                    if told["type"] == "round":
                        page.send(json.dumps({"round": told["n"]}))
                    if told["type"] == "state" and told["streams"]:
                        assert told["streams"][0]["far"] is True and told["streams"][0]["front_end"] == "a"
            assert set(seen) == {key}
        parts = motion(second, key)
        for grey in range(3):
            door.ask(picture(grey))
            assert next(parts) > 0
        parts.close()
        time.sleep(12)  # the wish, and the look, are over
        before = figure(first, "imageserver_redis_frames_total")
        for grey in range(5):
            door.ask(picture(grey))
        assert figure(first, "imageserver_redis_frames_total") == before


@pytest.mark.long
def test_events_tell_of_both(servers: tuple[Server, Server]) -> None:
    first, second = servers
    request = urllib.request.Request(f"{second.url}/streams/events")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"anna:{SECRET}".encode()).decode())
    with urllib.request.urlopen(request, timeout=PATIENCE) as events, camera(first, "hall") as hall:
        found: set[str] = set()
        kind, end = "", time.monotonic() + PATIENCE
        while not {"opened", "prediction"} <= found:
            assert time.monotonic() < end
            hall.ask(picture(5))
            line = events.readline().decode()
            if line.startswith("event:"):
                kind = line.split()[1]
            elif line.startswith("data:") and json.loads(line[5:])["name"] == "hall":
                found.add(kind)


@pytest.mark.long
def test_redis_is_killed_and_comes_back(redis: RedisServer, servers: tuple[Server, Server]) -> None:
    first, second = servers
    with camera(first, "door") as door, camera(second, "garden") as garden:
        until(lambda: {"door", "garden"} <= streams(first).keys() & streams(second).keys(), "both cameras at both")
        redis.kill()
        try:
            until(lambda: "lacking" in json.loads(ask(first, "/health/ready")[1]), "the sentence")
            assert "Redis does not answer" in json.loads(ask(first, "/health/ready")[1])["lacking"]
            until(lambda: "garden" not in streams(first), "that others' cameras vanish")
            until(lambda: "door" not in streams(second), "that others' cameras vanish")
            status, body = ask(first, "/streams/garden.jpg")
            assert status == 404 and b"Redis does not answer" in body
            end = time.monotonic() + 8
            while time.monotonic() < end:
                assert door.ask(picture(3))["camera"] == "door" and garden.ask(picture(4))["camera"] == "garden"
            assert ask(first, "/streams/door.jpg")[0] == 200
        finally:
            redis.start()
        begun = time.monotonic()
        until(lambda: {"door", "garden"} <= streams(first).keys() & streams(second).keys(), "both cameras at both")
        assert time.monotonic() - begun < 10, "5 seconds, on a machine that has nothing else to do"
        assert "lacking" not in json.loads(ask(first, "/health/ready")[1])
    for server in servers:
        assert not server.find("Traceback")
        assert len([line for line in server.lines if "it is tried again until it answers" in line]) == 1


@pytest.mark.long
def test_whoever_writes_to_redis_upsets_nobody(redis: RedisServer, servers: tuple[Server, Server]) -> None:
    first, second = servers
    with camera(first, "porch") as door, redis.client() as hostile:
        until(lambda: "porch" in streams(second), "the camera")
        key = streams(second)["porch"]["id"]
        row = {name: value for name, value in streams(second)["porch"].items() if name != "front_end"}
        forged = row | {"counts": "garden", "kind": "stream", "name": "forged"}
        told = {"rows": [forged], "cycle": 1, "piece": 1, "pieces": 1}
        for run in ("00000000000000ee", "00000000000000ef"):
            hostile.publish(ALL, messages.encode("rows", "a", run, **told))
            hostile.publish(ALL, messages.encode("rows", "b", run, **told))
            hostile.publish(ALL, messages.encode("closed", "a", run, ids=[key]))
            frame = {"seq": 9, "timestamp": 1, "rotate": 0, "prediction": {"label": "forged"}, "error": ""}
            hostile.publish(f"{messages.FRAME}{key}", messages.encode("frame", "a", run, **frame) + "\n\xff\xd8")
        for data in (b"", b"\0" * 10**7, b"{" * 10**6, b'{"v":1}', b"\x80\x04."):
            for channel in (ALL, f"{messages.TO}a", f"{messages.TO}b", f"{ROOM}garden", f"{messages.FRAME}{key}"):
                hostile.publish(channel, data)
        hostile.publish(ALL, bytes(64 * 2**20))
        door.ask(picture(9))
        assert ask(second, f"/streams/{key}.jpg") == (200, picture(9))
        assert "forged" not in streams(second) and streams(first)["porch"]["id"] == key
        assert figure(second, "imageserver_redis_dropped_total") > 10
    for server in servers:
        assert not server.find("Traceback")
        assert json.loads(ask(server, "/health/live")[1]) == {"status": "live"}


@pytest.mark.long
def test_one_that_is_killed_is_forgotten_and_one_that_leaves_at_once(
    redis: RedisServer, password: Path, users: Path, servers: tuple[Server, Server], tmp_path: Path
) -> None:
    first, _second = servers
    third = front_end("c", redis, password, users, tmp_path)
    with contextlib.suppress(AssertionError), third:
        with camera(third.ready(), "cellar"):
            until(lambda: "cellar" in streams(first), "its camera")
            third.process.kill()
            begun = time.monotonic()
        until(lambda: "cellar" not in streams(first), "that it is forgotten")
        assert time.monotonic() - begun < 12
    assert "cellar" not in streams(first)
    fourth = front_end("d", redis, password, users, tmp_path)
    with fourth:
        with camera(fourth.ready(), "attic"):
            until(lambda: "attic" in streams(first), "its camera")
        fourth.process.send_signal(signal.SIGTERM)
        first.wait_for("the front end d has left")
