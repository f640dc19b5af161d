"""Streams, users, tokens and logins of pages at a real server: what curl and a browser would ask, and worse."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import requests
from tests.passwords import CHEAP
from tests.running import PATIENCE, Camera, CheapServer, Server, picture, until

from imageserver.accounts.database import UserDB


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> UserDB:
    found = UserDB(tmp_path_factory.mktemp("data") / "users.db", CHEAP)
    found.add("ann", "ann", ["admin", "viewer"])
    found.add("door", "door", ["camera"])
    return found


@pytest.fixture(scope="module")
def server(users: UserDB) -> Iterator[Server]:
    assert users.path is not None
    with CheapServer("-a", "--login-attempts", "0", data=users.path.parent) as running:
        yield running.ready()


def ask(server: Server, method: str, path: str, **more: Any) -> requests.Response:
    options: dict[str, Any] = {"auth": ("ann", "ann"), "timeout": PATIENCE, **more}
    return requests.request(method, server.url + path, **options)


def names(server: Server) -> list[str]:
    return [row["name"] for row in ask(server, "GET", "/streams/").json()]


@pytest.mark.parametrize("name", ["front door", "a/b", "/", "100%25", "Tür", "x.json y", "...", "x" * 64])
def test_a_camera_is_seen_configured_and_disconnected(server: Server, name: str) -> None:
    path = f"/streams/{quote(name, safe='')}"
    named: Any = SimpleNamespace(url=f"{server.url}?name={quote(name, safe='')}")
    with Camera(named, auth={"user": "door", "password": "door"}) as camera:
        camera.ask(picture(9))
        (row,) = [row for row in ask(server, "GET", "/streams/").json() if row["name"] == name]
        assert (row["user"], row["camera"], row["protocol"], row["size"]) == ("door", name, "camstream", [64, 48])
        assert row["fps_in"] > 0
        assert ask(server, "GET", f"{path}.json").json()["camera"] == name
        assert ask(server, "POST", path, data='{"hz": 5}').json()["id"] == row["id"]
        assert ask(server, "DELETE", path).json() == {"id": row["id"], "disconnected": True}
        until(lambda: not camera.client.connected, "the camera to be disconnected")
    until(lambda: name not in names(server), "the stream to be gone")


@pytest.mark.parametrize("name", ["a/b", "100%", "Ünï", "x" * 128, "<b>"])
def test_users_of_any_name_come_and_go(server: Server, name: str) -> None:
    path = f"/users/{quote(name, safe='')}"
    assert ask(server, "PUT", path, json={"password": "x"}).status_code == 201
    assert ask(server, "GET", "/tokens/", auth=(name.encode(), b"x")).json() == []
    assert ask(server, "DELETE", path).json() == {"name": name, "removed": True}
    assert ask(server, "GET", "/tokens/", auth=(name.encode(), b"x")).status_code == 401


def test_a_huge_login_is_refused_before_it_has_come(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as sock:
        sock.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777216\r\n\r\n")
        assert sock.recv(64).startswith(b"HTTP/1.1 413 ")
    begun = time.monotonic()
    answer = ask(server, "POST", "/login", data=b"x" * 2**24, auth=None, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert time.monotonic() - begun < PATIENCE


def test_a_browser_logs_in_and_what_it_has_ends_with_its_user(server: Server, users: UserDB) -> None:
    users.add("vic", "vic", ["viewer"])
    with requests.Session() as browser:
        browser.trust_env = False
        form = {"user": "vic", "password": "vic"}
        assert browser.post(f"{server.url}/login", data=form, timeout=PATIENCE).json()["user"] == "vic"
        (cookie,) = browser.cookies
        assert (cookie.name, cookie.path, cookie.secure) == ("imageserver_session", "/", False)
        assert browser.get(f"{server.url}/streams/", timeout=PATIENCE).status_code == 200
        ask(server, "DELETE", "/users/vic")
        found = browser.get(f"{server.url}/streams/", timeout=PATIENCE)
        assert (found.status_code, len(browser.cookies)) == (401, 0), "it is forgotten"


def test_nobody_can_tell_from_the_answer_who_exists(server: Server) -> None:
    answers = []
    for name in ("ann", "nobody"):
        found = ask(server, "POST", "/login", json={"user": name, "password": "wrong"}, auth=None)
        kept = {key: value for key, value in found.headers.items() if key != "Date"}
        answers.append((found.status_code, found.text, kept))
    assert answers[0] == answers[1]
