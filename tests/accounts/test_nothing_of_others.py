"""Who is bound to cameras, and who is a camera alone, learns nothing of others at any door: a walk with eyes open."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import websocket
from tests.accounts.test_every_event import Talk
from tests.passwords import CHEAP
from tests.running import PATIENCE, CheapServer, Server, picture

from imageserver.accounts import doors
from imageserver.accounts.database import UserDB
from imageserver.accounts.doors import HTTP, Door

OTHER, CAMERA, NUMBER = "wonderland", "Cellar", 77
"""Somebody, who streams under this name, and puts a picture of this number and brightness."""

KITCHEN = "kitchen"
"""The camera of those who are bound."""

LOOKING = [
    door
    for door in doors.DOORS
    if door.protocol == HTTP and door.method == "GET" and (not door.changes or door.path == "/socket.io/")
    if door.path != "/streams/events"  # which does not end: tests/protocols/http/watching/test_events.py
]
CHANGING = [
    door
    for door in doors.DOORS
    if door.protocol == HTTP and door.changes and re.match("/(streams|snippets)/<", door.path)
]


@dataclass
class House:
    """A server to which somebody streams, who has a session and a snippet as well."""

    server: Server
    session: requests.Session
    streams: list[dict[str, Any]]

    def ask(self, method: str, path: str, user: str, **more: Any) -> requests.Response:
        more = {"timeout": PATIENCE, "allow_redirects": False, **more}
        return self.session.request(method, self.server.url + path, auth=(user, user), **more)

    def joined(self, user: str) -> websocket.WebSocket:
        url = f"ws://127.0.0.1:{self.server.port}/ws"
        return websocket.create_connection(url, timeout=PATIENCE, header=[f"Authorization: {basic(user)}"])


def basic(user: str) -> str:
    return requests.auth._basic_auth_str(user, user)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("data")
    users = UserDB(folder / "users.db", CHEAP)
    users.add(OTHER, OTHER, ("camera",))
    users.add("ada", "ada", ("admin",))
    users.add("cam", "cam", ("camera",))
    users.add("bound", "bound", ("camera", "viewer"), only=(KITCHEN,))
    users.add("steward", "steward", ("admin",), only=(KITCHEN,))
    options = ("-a", "--session-models", "sleeper", "--snippet-history", "3")
    with CheapServer(*options, data=folder) as server, requests.Session() as session:
        found = House(server.ready(), session, [])
        login = {"user": OTHER, "password": OTHER}
        with Talk(server, 4, login, name=CAMERA) as camera, Talk(server, 4, login, name=CAMERA) as face:
            assert camera.passes("receiveImage")
            assert face.passes("session_start")
            put = found.ask("PUT", f"/snippets/{NUMBER}/?name={CAMERA}", OTHER, data=picture(NUMBER))
            assert put.status_code == 200, put.text
            found.streams = found.ask("GET", "/streams/", "ada").json()
            assert [row["camera"] for row in found.streams] == [CAMERA, CAMERA]
            yield found


def paths(house: House, door: Door) -> list[str]:
    """Paths through the door; where it leads to somebody's, to what is that other's."""
    keys = [OTHER, CAMERA, *(row["id"] for row in house.streams)] if "<key:" in door.path else ["echo"]
    return [re.sub("<[^>]+>", key, door.path.replace("<number:identity>", str(NUMBER))) for key in keys]


def leads_to_somebodys(door: Door) -> bool:
    """Whether it is the door to one picture, stream, user, token or session."""
    return "<key:" in door.path or "<number:" in door.path


@pytest.mark.parametrize("user", ["bound", "cam"])
@pytest.mark.parametrize("door", LOOKING, ids=lambda door: door.name)
def test_looking(house: House, door: Door, user: str) -> None:
    for path in paths(house, door):
        for query in ("", "?history=1", "?limit=100"):
            answer = house.ask("GET", path + query, user)
            if leads_to_somebodys(door):
                # The same as of what is not there, or of what nobody of this role may see.
                assert answer.status_code == (404 if user == "bound" else 403), (path, answer.text)
            else:
                assert answer.status_code < 500, (path, answer.text)
                assert OTHER not in answer.text, (path, answer.text)
                assert CAMERA not in answer.text, (path, answer.text)


@pytest.mark.parametrize("door", CHANGING, ids=lambda door: door.name)
def test_changing(house: House, door: Door) -> None:
    """Not even an admin, who is bound, finds what is of another camera."""
    for user in ("bound", "cam", "steward"):
        for path in paths(house, door):
            sent = {"data": picture()} if "snippets" in path else {"json": {"hz": 1}}
            answer = house.ask(door.method, path, user, **sent)
            assert answer.status_code in (403, 404), (user, path, answer.text)
    assert house.ask("GET", f"/snippets/{NUMBER}/image", OTHER).content == picture(NUMBER)


@pytest.mark.parametrize("path", ["/echo/classify", "/v2/models/echo/infer", f"/snippets/{NUMBER + 1}/"])
def test_sending_as_another_camera(house: House, path: str) -> None:
    method = "PUT" if "snippets" in path else "POST"
    sent: dict[str, Any] = {"data": picture(), "headers": {"Content-Type": "image/jpeg"}}
    if "infer" in path:
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(picture()).decode()]}
        sent = {"json": {"inputs": [tensor]}}
    for name, status in ((CAMERA, 404), ("a" * 65, 400), (KITCHEN, 200), ("", 200)):
        answer = house.ask(method, f"{path}?name={name}", "bound", **sent)
        assert answer.status_code == status, answer.text
        if status == 200 and "infer" not in path:
            assert answer.json()["camera"] == KITCHEN, "who says no name gets the first of theirs"


@pytest.mark.parametrize("generation", [3, 4])
def test_streaming_as_another_camera(house: House, generation: int) -> None:
    login = {"user": "bound", "password": "bound"}
    with Talk(house.server, generation, login, name=CAMERA) as talk:
        assert talk.refusal or not talk.passes("receiveImage")
    with Talk(house.server, generation, login) as talk:
        talk.emit("receiveImage", picture(5))
        prediction = json.loads(json.loads(talk.heard('42["prediction"')[2:])[1])
        assert prediction["camera"] == KITCHEN, "who says no name gets the first of theirs"


def test_news(house: House) -> None:
    """The other's picture comes first, and then one of their own camera."""
    with closing(house.joined("bound")) as bound, closing(house.joined("ada")) as ada:
        for user, name, number in ((OTHER, CAMERA, NUMBER), ("bound", KITCHEN, 78)):
            assert house.ask("PUT", f"/snippets/{number}/?name={name}", user, data=picture(number)).status_code == 200
        assert [json.loads(ada.recv())["snippet"] for _ in range(2)] == [NUMBER, 78]
        assert json.loads(bound.recv())["snippet"] == 78


def test_there_is_something_to_see(house: House) -> None:
    """Else nothing were shown by all that."""
    first = house.streams[0]["id"]
    for path in ("/streams/", f"/streams/{first}.json", f"/snippets/{NUMBER}/", "/snippets/"):
        answer = house.ask("GET", path, "ada")
        assert answer.status_code == 200, path
        assert CAMERA in answer.text, path
