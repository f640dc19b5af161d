"""Which doors ask for a login while there are users, with `-a` and without it, as docs/users.md has them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pytest
import requests
import websocket
from tests.running import PATIENCE, Camera, CheapServer, Server, picture

from imageserver.accounts.database import UserDB


@pytest.fixture(scope="module", params=[False, True], ids=["without -a", "with -a"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, bool]]:
    """A server that knows alice, and whether it was started with `-a`."""
    folder = tmp_path_factory.mktemp("data")
    UserDB(folder / "users.db").add("alice", "secret")
    with CheapServer(*(["-a"] if request.param else []), data=folder) as server:
        yield server.ready(), request.param


@pytest.mark.parametrize("path", ["/list_nn", "/echo/about", "/v2/models/echo"])
def test_rest_asks_in_any_case(asked: tuple[Server, bool], path: str) -> None:
    url = asked[0].url + path
    assert requests.get(url, timeout=PATIENCE).status_code == 401
    assert requests.get(url, auth=("alice", "wrong"), timeout=PATIENCE).status_code == 401
    assert requests.get(url, auth=("alice", "secret"), timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize("path", ["/snippets/", "/metrics"])
def test_snippets_and_figures_ask_with_auth(asked: tuple[Server, bool], path: str) -> None:
    server, auth = asked
    assert requests.get(server.url + path, timeout=PATIENCE).status_code == (401 if auth else 200)


def test_the_relay_asks_with_auth(asked: tuple[Server, bool]) -> None:
    server, auth = asked
    address = f"ws://127.0.0.1:{server.port}/ws"
    if auth:
        with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
            websocket.create_connection(address, timeout=PATIENCE)
    else:
        websocket.create_connection(address, timeout=PATIENCE).close()


def test_cameras_are_asked_with_auth(asked: tuple[Server, bool]) -> None:
    server, auth = asked
    with Camera(server) as camera:
        assert camera.login("alice", "wrong") is not auth
    with Camera(server) as camera:
        assert ("error" in camera.ask(picture())) is auth


def test_sessions_are_asked_with_auth(asked: tuple[Server, bool]) -> None:
    server, auth = asked
    with Camera(server) as camera:
        answer = json.loads(camera.client.call("session_start", struct.pack("<Q", 1), timeout=PATIENCE))
        assert answer["error"].startswith("authenticate first") is auth, answer  # else: there is no model for one


def test_the_start_says_so(asked: tuple[Server, bool]) -> None:
    server, auth = asked
    sentence = (
        "there are users, so REST, and whatever deletes or is an admin's, asks for one; "
        "cameras, sessions, snippets, /ws and /metrics do so with -a alone"
    )
    assert bool(server.find(sentence)) is not auth
