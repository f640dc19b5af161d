"""Streams over HTTP: who sees which, in pages, and who may configure and disconnect them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from tests.protocols.http.asking import Asking

from imageserver.accounts.audit import Audit
from imageserver.errors import ModelUnavailable, UnknownModel
from imageserver.protocols.http.streams import StreamViews
from imageserver.streams.overview import Overview
from imageserver.streams.session import Session
from imageserver.streams.stream import Stream, Streams, StreamSubscriber

KEYS = ["id", "name", "user", "protocol", "model", "fps_in", "fps_answered", "age_ms", "dropped", "size"]
STRANGE = ["a/b", "/a", "a/", "100%", "a%2Fb", "x.json", "Tür ñ 摄像头", "a?b#c", "a+b c", "..", "x" * 128, '<b>"']


class Engine:
    """Knows two models, one of which cannot be had."""

    def prepare(self, name: str) -> None:
        if name == "broken":
            raise ModelUnavailable("broken is disabled")
        if name != "lenet":
            raise UnknownModel(f"there is no model {name!r}")


class Client(StreamSubscriber):
    """Whose streams they are."""

    def disconnect(self, stream: Stream) -> None:
        stream.close()


class Noted(Audit):
    """An audit that remembers."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, str]]] = []

    def note(self, event: str, **more: str) -> None:
        self.notes.append((str(event), more))


class World(Asking):
    """Streams, sessions, and users of every role."""

    def __init__(self, *, users: bool = True, most_hz: float = 0.0, **limits: Any) -> None:
        super().__init__(required=users, **limits)
        engine: Any = Engine()
        self.streams = Streams(engine, self.limits)
        self.sessions: Any = SimpleNamespace(open_sessions={})
        self.audit = Noted()
        self.overview = Overview(self.streams, self.sessions)
        self.serve(StreamViews(self.overview, most_hz=most_hz, audit=self.audit, list_rows=self.limits.list_rows))
        if users:
            for role in ("camera", "viewer", "admin"):
                self.add(role, role)

    def stream(self, name: str, user: str = "alice", camera: str = "") -> Stream:
        options: dict[str, Any] = {"protocol": "camstream", "model": "echo", "hz": 0.0, "rotate": 0}
        return self.streams.open(name, user, camera, subscriber=Client(), **options)

    def session(self, user: str = "bob", camera: str = "") -> Session:
        session = Session.__new__(Session)  # its models are no part of this
        called = self.streams.names.take("session-1", camera, user=user, address="", connection="c")
        known = {"id": "session-1", "number": 10**6, "user": user, "called": called, "begun": 0.0, "dropped": 0}
        counts = {"received": 0, "answered_count": 0, "protocol": "sessions", "model": "pulse, blink"}
        session.__dict__ |= {**known, **counts, "last_prediction": {}}
        session.__dict__["end"] = lambda: self.sessions.open_sessions.pop("session-1")
        self.sessions.open_sessions["session-1"] = session
        return session

    def bind(self, user: str, *cameras: str) -> None:
        found = self.users.get(user)
        assert found is not None
        self.users.set(replace(found, only=cameras))


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("GET", "/streams/", {"": 401, "camera": 403, "viewer": 200, "admin": 200}),
        ("GET", "/streams/1.json", {"": 401, "camera": 403, "viewer": 200, "admin": 200}),
        ("POST", "/streams/1", {"": 401, "camera": 403, "viewer": 403, "admin": 200}),
        ("DELETE", "/streams/1", {"": 401, "camera": 403, "viewer": 403, "admin": 200}),
    ],
)
def test_viewers_see_and_admins_steer(method: str, path: str, statuses: dict[str, int]) -> None:
    world = World()
    world.stream("1")
    for user, status in statuses.items():
        found = world(method, path, user, json={"hz": 5} if method == "POST" else None)
        assert found.status_code == status, user
        assert status == 200 or found.json["error"]


def test_without_users_and_auth_the_doors_stand_open() -> None:
    world = World(users=False)
    world.stream("1")
    assert world("GET", "/streams/").json[0]["id"] == "1"
    world.add("admin", "admin")
    assert world("GET", "/streams/").status_code == 200
    assert world("DELETE", "/streams/1").status_code == 401, "what is an admin's is asked once there are users"


def test_a_list_of_streams_and_sessions_says_how_each_is_doing() -> None:
    world = World()
    assert world("GET", "/streams/", "viewer").json == []
    stream = world.stream("1", "alice", "front door")
    stream.last_prediction = {"model": "echo", "label": "x", "age_ms": 12.5, "size": [640, 480]}
    stream.dropped = 3
    quiet = world.stream("2")
    session = world.session()
    first, second, third = world("GET", "/streams/", "viewer").json
    assert list(first) == [*KEYS, "camera"]
    expected = {"id": "1", "name": "front door", "user": "alice", "camera": "front door", "dropped": 3}
    assert {**first, **expected, "age_ms": 12.5, "size": [640, 480]} == first
    assert list(second) == KEYS
    assert (second["name"], second["age_ms"], second["size"], second["fps_in"]) == (quiet.user, None, None, 0.0)
    assert {**third, "id": "session-1", "protocol": "sessions", "model": "pulse, blink"} == third
    session.last_prediction = {"HR": 70, "frame": {"size": [320, 240], "mode": "RGB"}, "age_ms": 3.0}
    assert {"age_ms": 3.0, "size": [320, 240]}.items() <= world("GET", "/streams/", "viewer").json[2].items()


def test_long_lists_come_in_pages() -> None:
    world = World(list_rows=4)
    for number in range(10):
        world.stream(str(number))
    pages, path = [], "/streams/"
    while path:
        found = world("GET", path, "viewer")
        pages.append([row["id"] for row in found.json])
        path = found.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert pages == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    assert len(world("GET", "/streams/?limit=3", "viewer").json) == 3
    for query in ("limit=0", "limit=5", "after=-1", "after=x", "limit=1e3"):
        assert world("GET", f"/streams/?{query}", "viewer").status_code == 400


def test_bound_users_see_their_cameras_only_at_every_door() -> None:
    world = World(list_rows=2)
    for number in range(6):
        world.stream(str(number), f"alice {number}", "kitchen" if number % 2 else "door")
    world.stream("kitchen too", "kitchen")
    world.session(camera="door")
    for user in ("viewer", "admin"):
        world.bind(user, "kitchen")
    found = world("GET", "/streams/", "viewer")
    assert [row["id"] for row in found.json] == ["1", "3"]
    link = found.headers["Link"].partition(">")[0].removeprefix("<")
    found = world("GET", link, "viewer")
    assert [row["id"] for row in found.json] == ["5", "kitchen too"]
    assert "Link" not in found.headers, "what others have is not even hinted at"
    for key in ("0", "door", "session-1"):
        assert world("GET", f"/streams/{key}.json", "viewer").status_code == 404
        assert world("POST", f"/streams/{key}", "admin", json={"hz": 1}).status_code == 404
        assert world("DELETE", f"/streams/{key}", "admin").status_code == 404
    theirs, none = world("GET", "/streams/0.json", "viewer"), world("GET", "/streams/none.json", "viewer")
    assert theirs.json["error"].replace("'0'", "'none'") == none.json["error"]
    assert world("GET", "/streams/kitchen.json", "viewer").status_code == 200


@pytest.mark.parametrize("name", STRANGE)
def test_streams_are_named_by_whatever_their_cameras_are_called(name: str) -> None:
    world = World()
    world.stream("another")
    stream = world.stream("1", "alice", name)
    stream.last_prediction = {"label": name}
    path = f"/streams/{quote(name, safe='')}"
    assert world("GET", f"{path}.json", "viewer").json == {"label": name}
    assert world("POST", path, "admin", json={"hz": 5}).json["name"] == name
    assert world("DELETE", path, "admin").json == {"id": "1", "disconnected": True}
    assert list(world.streams.open_streams) == ["another"]


@pytest.mark.parametrize("name", ["x" * 257, "é" * 4000, "\0", "a\nb"])
def test_what_no_stream_can_be_called_is_not_found(name: str) -> None:
    world = World()
    found = world("GET", f"/streams/{quote(name, safe='')}.json", "viewer")
    assert found.status_code == 404
    assert len(found.json["error"]) < 600


def test_of_several_of_one_name_the_last_is_seen_and_none_is_changed() -> None:
    world = World()
    for number in (1, 2):
        world.stream(str(number), "alice").last_prediction = {"seq": number}
    assert world("GET", "/streams/alice.json", "viewer").json == {"seq": 2}
    for method, body in (("POST", {"hz": 5}), ("DELETE", None)):
        found = world(method, "/streams/alice", "admin", json=body)
        assert found.status_code == 409
        assert "1, 2" in found.json["error"]
    assert world("DELETE", "/streams/1", "admin").status_code == 200
    assert world("DELETE", "/streams/alice", "admin").status_code == 200


def test_a_stream_is_configured_within_what_the_operator_allows_and_it_is_noted() -> None:
    world = World(most_hz=4.0)
    stream = world.stream("1", "alice", "door")
    assert world("POST", "/streams/door", "admin", json={"model": "lenet", "hz": 50}).json["model"] == "lenet"
    assert (stream.model, stream._rate.hz) == ("lenet", 4.0)
    event, more = world.audit.notes[-1]
    assert event == "configuration"
    assert {"user": "alice", "by": "admin", "detail": '{"model":"lenet","hz":50}'}.items() <= more.items()


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({}, 400, "configure takes an object"),
        ({"fps": 1}, 400, "configure knows model and hz, not 'fps'"),
        ({"model": "none"}, 400, "there is no model 'none'"),
        ({"model": "broken"}, 503, "broken is disabled"),
        ([1], 400, "the body is no JSON object"),
    ],
)
def test_what_a_stream_cannot_have_changes_nothing(body: Any, status: int, sentence: str) -> None:
    world = World()
    stream = world.stream("1")
    found = world("POST", "/streams/1", "admin", json=body)
    assert (found.status_code, stream.model) == (status, "echo")
    assert sentence in found.json["error"]
    assert not world.audit.notes


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"hz": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"hz": 1e999}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"hz": 1}', "image/png", 415),
        (b"x" * 70_000, "application/json", 413),
        (b'{"hz": 1}', "application/x-www-form-urlencoded", 200),
    ],
)
def test_bodies_are_small_json_objects(data: bytes, kind: str, status: int) -> None:
    world = World()
    world.stream("1")
    assert world("POST", "/streams/1", "admin", data=data, content_type=kind).status_code == status


def test_a_body_without_a_length_is_measured_as_it_comes() -> None:
    world = World(max_json_bytes=1024)
    world.stream("1")
    more: Any = {"environ_overrides": {"wsgi.input_terminated": True}, "headers": {"Transfer-Encoding": "chunked"}}
    found = world("POST", "/streams/1", "admin", data=b"x" * 2000, content_length=None, **more)
    assert found.status_code == 413


def test_an_admin_gives_a_camera_another_name_which_counts_at_every_door_from_then_on() -> None:
    world = World()
    stream, session = world.stream("1", "alice", "door"), world.session("bob", "garden")
    path = "/streams/door"
    changed = world("POST", path, "admin", json={"name": " front do\u0308r ", "hz": 5})
    assert (changed.status_code, changed.json["name"], changed.json["camera"]) == (200, "front dör", "front dör")
    assert (stream.name, stream.counts_as) == ("front dör", "front dör")
    ((event, note),) = world.audit.notes
    assert (event, note["by"], "front d" in note["detail"]) == ("configuration", "admin", True)
    assert world("GET", "/streams/door.json", "viewer").status_code == 404
    assert world("GET", "/streams/front%20d%C3%B6r.json", "viewer").status_code == 200
    for user, seen in (("front dör", 200), ("door", 404)):
        world.bind("viewer", user)
        assert world("GET", "/streams/1.json", "viewer").status_code == seen
    assert world("POST", "/streams/session-1", "admin", json={"name": "yard"}).json["name"] == "yard"
    assert session.camera == "yard"
    assert world("POST", "/streams/1", "admin", json={"name": "front dör"}).status_code == 200, "it is called so"


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"name": "yard"}, 409, "another camera is called 'yard'"),
        ({"name": "yard", "hz": 5}, 409, "another camera is called 'yard'"),
        ({"name": "2"}, 409, "another camera is called '2'"),
        ({"name": "events"}, 400, "stands for something else at /streams/"),
        ({"name": "x" * 65}, 400, "(65 characters) cannot be the name of a camera"),
        ({"name": ""}, 400, "name is a text of 1 to 64 characters"),
        ({"name": None}, 400, "name is a text of 1 to 64 characters"),
        ({"name": "new", "hz": -1}, 400, "hz must be a number"),
        ({"name": "new", "model": "missing"}, 400, "missing"),
        ({"name": "new", "colour": 1}, 400, "not 'colour'"),
    ],
)
def test_a_name_that_cannot_be_changes_nothing(body: dict[str, Any], status: int, sentence: str) -> None:
    world = World()
    stream, _other = world.stream("1", "alice", "door"), world.stream("2", "bob", "yard")
    found = world("POST", "/streams/1", "admin", json=body)
    assert (found.status_code, sentence in found.json["error"]) == (status, True), found.json
    assert (stream.name, world.audit.notes) == ("door", [])


def test_a_session_is_ended_and_not_configured() -> None:
    world = World()
    world.session()
    assert world("POST", "/streams/session-1", "admin", json={"hz": 1}).status_code == 409
    assert world("GET", "/streams/session-1.json", "viewer").json == {}
    assert world("DELETE", "/streams/bob", "admin").json == {"id": "session-1", "disconnected": True}
    assert world("DELETE", "/streams/session-1", "admin").status_code == 404
    event, more = world.audit.notes[-1]
    assert (event, more["user"], more["by"]) == ("disconnection", "bob", "admin")
