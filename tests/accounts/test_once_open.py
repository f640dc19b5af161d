"""What once was possible from outside, and is no more: the doors that stood open for the wrong people."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from tests.accounts.walking import EVIL
from tests.passwords import CHEAP
from tests.running import PATIENCE, ROOT, Camera, CheapServer, Server, picture, until

from imageserver.accounts.database import UserDB

ROLES = {"alice": "camera", "bea": "camera", "vic": "viewer", "ada": "admin"}


def people(folder: Path) -> UserDB:
    """Users by their roles, whose password is their name."""
    users = UserDB(folder / "users.db", CHEAP)
    for name, role in ROLES.items():
        users.add(name, name, (role,))
    return users


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def users(folder: Path) -> UserDB:
    return people(folder)


@pytest.fixture(scope="module")
def server(folder: Path, users: UserDB) -> Iterator[Server]:
    """With `-a`."""
    with CheapServer("-a", data=folder) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Without `-a`, but with users."""
    folder = tmp_path_factory.mktemp("open")
    people(folder)
    with Server(data=folder) as running:
        yield running.ready()


def ask(server: Server, method: str, path: str, user: str = "", **more: Any) -> requests.Response:
    more = {"timeout": PATIENCE, **more}
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, server.url + path, auth=(user, user) if user else None, **more)


def put(server: Server, number: int, user: str, grey: int = 10) -> requests.Response:
    return ask(server, "PUT", f"/snippets/{number}/", user, data=picture(grey))


def joined(server: Server, user: str = "", **more: Any) -> websocket.WebSocket:
    """A member of `/ws`."""
    pair = base64.b64encode(f"{user}:{user}".encode()).decode()
    header = [f"Authorization: Basic {pair}"] if user else []
    more = {"suppress_origin": True, **more}
    return websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws", timeout=PATIENCE, header=header, **more)


# ---- roles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/snippets/", "/snippets/1/", "/snippets/1/?history=1", "/snippets/1/image"])
def test_a_camera_reads_nobody_elses_snippet(server: Server, method: str, path: str) -> None:
    assert put(server, 1, "alice").status_code == 200
    assert ask(server, method, path, "bea").status_code == 403
    assert ask(server, method, path, "vic").status_code == 200
    if path != "/snippets/":
        assert ask(server, method, path, "alice").status_code == 200


def test_a_camera_overwrites_nobody_elses_snippet(server: Server) -> None:
    assert put(server, 2, "alice", 20).status_code == 200
    assert put(server, 2, "bea", 30).status_code == 403
    assert ask(server, "POST", "/snippets/2/", "bea", data=picture(30)).status_code == 403
    assert ask(server, "GET", "/snippets/2/image", "vic").content == picture(20)


@pytest.mark.parametrize("path", ["/echo/classify", "/v2/models/echo/infer", "/v2/models/echo/versions/1/infer"])
def test_a_viewer_classifies_nothing(server: Server, path: str) -> None:
    answer = ask(server, "POST", path, "vic", data=picture(), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 403
    assert "camera" in answer.json()["error"]


def test_a_viewer_overwrites_no_snippet(server: Server) -> None:
    assert put(server, 3, "alice", 20).status_code == 200
    for method in ("PUT", "POST"):
        assert ask(server, method, "/snippets/3/", "vic", data=picture(30)).status_code == 403
    assert ask(server, "GET", "/snippets/3/image", "vic").content == picture(20)


@pytest.mark.parametrize("closed", [True, False])
def test_a_viewer_streams_nothing(server: Server, open_server: Server, closed: bool) -> None:
    with Camera(server if closed else open_server, auth={"user": "vic", "password": "vic"}) as camera:
        assert "error" in camera.ask(picture())
        assert not camera.configure(hz=1)["success"]
        started = json.loads(camera.client.call("session_start", struct.pack("<Q", 1), timeout=PATIENCE))
        assert not started["success"]


# ---- pages of others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", "vic"])
def test_the_relay_takes_no_page_of_others(server: Server, open_server: Server, user: str) -> None:
    asked = server if user else open_server
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        joined(asked, user, origin=EVIL, suppress_origin=False)
    joined(asked, user, origin=asked.url, suppress_origin=False).close()
    joined(asked, user).close()


def test_no_page_of_others_changes_anything(open_server: Server) -> None:
    answer = ask(open_server, "PUT", "/snippets/4/", data=picture(), headers={"Origin": EVIL})
    assert answer.status_code == 403
    assert ask(open_server, "GET", "/snippets/4/").status_code == 404


# ---- who was removed ------------------------------------------------------------------------------------------------


def test_who_was_removed_speaks_no_more(server: Server, users: UserDB) -> None:
    users.add("leo", "leo", ("camera", "viewer"))
    assert ask(server, "GET", "/list_nn", "leo").status_code == 200
    with Camera(server) as camera:
        relay = joined(server, "leo")
        assert camera.login("leo", "leo")
        assert camera.ask(picture(7))["label"] == "7"
        users.remove("leo")
        until(lambda: not camera.client.connected, "the end of a camera whose user was removed")
        assert relay.recv_data_frame()[0] == websocket.ABNF.OPCODE_CLOSE
        relay.shutdown()
    assert ask(server, "GET", "/list_nn", "leo").status_code == 401


def test_a_server_does_not_open_with_its_last_user(tmp_path: Path) -> None:
    UserDB(tmp_path / "users.db", CHEAP).add("ada", "ada", ("admin",))
    with Server(data=tmp_path) as server:
        assert ask(server, "GET", "/list_nn").status_code == 401
        command = [sys.executable, ROOT / "src" / "userdb.py", "remove", "ada", "--data", tmp_path]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        for path in ("/list_nn", "/echo/train"):
            assert ask(server, "GET", path).status_code == 401
            assert ask(server, "GET", path, "ada").status_code == 401
