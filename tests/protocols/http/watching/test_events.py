"""Server-sent events of streams and sessions: in rounds, the newest of each stream, only what one may see."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from tests.protocols.http.watching import site as sites
from tests.protocols.http.watching.site import JPEG, Viewer, WatchedSite, until

from imageserver.protocols.http.watching import events
from imageserver.transport import hub


@pytest.fixture
def site() -> Iterator[WatchedSite]:
    yield from sites.site()


def told(viewer: Viewer) -> tuple[str, Any]:
    kind, data = viewer.event()
    return kind, json.loads(data)


def test_a_stream_is_told_from_its_beginning_to_its_end(site: WatchedSite) -> None:
    before = site.stream("bob", "door")
    with site.connect("/streams/events") as viewer:
        assert viewer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (viewer.headers["Cache-Control"], viewer.headers["X-Accel-Buffering"]) == ("no-store", "no")
        assert told(viewer) == ("opened", site.overview.described(before))
        stream = site.stream("anna")
        about = {"stream": "id-anna", "name": "anna", "user": "anna"}
        kind, row = told(viewer)
        assert (kind, row["id"], row["fps_in"]) == ("opened", "id-anna", 0.0)
        site.frame(stream, JPEG)
        assert told(viewer) == ("prediction", about | stream.last_prediction)
        site.frame(stream, b"x", error="it is no picture", reason="picture")
        assert told(viewer) == ("frame_error", about | {"seq": 2, "error": "it is no picture"})
        site.frame(stream, JPEG)
        stream.close()
        assert told(viewer) == ("closed", about), "nothing follows, so nothing of before is told"
    until(lambda: site.frame(before, JPEG) or not len(site.followers), "its place to be free")
    assert not site.views._events._frames
    assert not site.views._events._news


def test_what_happens_while_one_is_told_what_is_open_is_told_as_well(site: WatchedSite) -> None:
    stream, taking = site.stream("anna"), mock.Mock()
    texts = events.Following(site.views._events, site.overview, None, frozenset(), taking).texts()
    assert next(texts) == b"retry: 10000\n\n"
    site.frame(stream, JPEG)
    assert next(texts).startswith(b"event: opened")
    assert next(texts).startswith(b"event: prediction")
    texts.close()


def test_of_each_stream_the_newest_is_told_and_each_is_encoded_once(
    site: WatchedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [site.stream(name) for name in ("anna", "bob")]
    viewers = [site.connect("/streams/events") for _viewer in range(10)]
    for viewer in viewers:
        assert [told(viewer)[0] for _stream in streams] == ["opened", "opened"]
    encoded = []
    real = events.lists.encode
    monkeypatch.setattr(events.lists, "encode", lambda data: encoded.append(data) or real(data))
    for _frame in range(20):
        for stream in streams:
            site.frame(stream, JPEG)
    for viewer in viewers:
        found = [told(viewer) for _stream in streams]
        assert [(kind, data["stream"], data["seq"]) for kind, data in found] == [
            ("prediction", "id-anna", 20),
            ("prediction", "id-bob", 20),
        ]
    assert len(encoded) == 2
    for viewer in viewers:
        viewer.__exit__()


def test_streams_are_chosen_by_id_and_name_however_they_are_written(site: WatchedSite) -> None:
    name = quote("Tu\u0308r/1")
    with site.connect(f"/streams/events?stream={name}&stream=id-anna&stream=later") as viewer:
        for name, camera in (("bob", ""), ("cara", "Tür/1"), ("anna", "x"), ("dora", "later")):
            site.frame(site.stream(name, camera), JPEG)
        seen = [told(viewer) for _event in range(6)]
    names = [data["name"] for kind, data in seen if kind == "prediction"]
    assert names == ["Tür/1", "x", "later"]
    assert [data["user"] for kind, data in seen if kind == "opened"] == ["cara", "anna", "dora"]


def test_a_query_that_cannot_be_is_refused(site: WatchedSite) -> None:
    with site.connect(f"/streams/events?stream={'x' * 257}") as viewer:
        assert (viewer.status, b"stream has 257 characters" in viewer.rest()) == (400, True)


def test_sessions_are_told_as_well(site: WatchedSite) -> None:
    session = site.session("bob")
    with site.connect("/streams/events?stream=bob") as viewer:
        assert told(viewer)[1]["protocol"] == "sessions"
        session.last_prediction = {"HR": 70, "seq": 3, "name": "what a model may say"}
        for watcher in site.sessions.watchers:
            watcher.predicted(session, session.last_prediction)
        about = {"stream": "session-1", "name": "bob", "user": "bob"}
        assert told(viewer) == ("prediction", {"HR": 70, "seq": 3, **about})
        for watcher in site.sessions.watchers:
            watcher.ended(session)
        assert told(viewer) == ("closed", about)


def test_users_see_what_they_may_and_only_as_long_as_they_may() -> None:
    for site in sites.site(users=True):
        for name, roles, only in (("cam", ["camera"], ()), ("vera", ["viewer"], ()), ("bound", ["viewer"], ("door",))):
            site.users.add(name, name, roles)
            user = site.users.get(name)
            assert user is not None
            site.users.set(replace(user, only=only))
        hub.spawn(site.logins.live.run)
        for camera in ("garden", "door"):
            site.frame(site.stream(f"user of {camera}", camera), JPEG)
        for path in ("garden.jpg", "garden.mjpeg", "events"):
            statuses = {}
            for user in ("", "cam", "vera", "bound"):
                with site.connect(f"/streams/{path}", user) as viewer:
                    statuses[user] = viewer.status
            assert statuses == {"": 401, "cam": 403, "vera": 200, "bound": 200 if path == "events" else 404}
        with site.connect("/streams/events", "bound") as viewer, contextlib.ExitStack() as closing:
            site.frame(site.streams.open_streams["id-user of garden"], JPEG)
            site.frame(site.streams.open_streams["id-user of door"], JPEG)
            seen = [told(viewer) for _event in range(2)]
            assert [(kind, data["name"]) for kind, data in seen] == [("opened", "door"), ("prediction", "door")]
            motion = closing.enter_context(site.connect("/streams/door.mjpeg", "bound"))
            motion.part()
            site.users.remove("bound")
            assert viewer.rest() == motion.rest() == b""


def test_a_silent_answer_has_heartbeats_and_one_that_is_far_behind_ends(
    site: WatchedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.02)
    with site.connect("/streams/events", **{"Last-Event-ID": "7"}) as viewer:
        assert hub.in_thread(viewer.response.readline) == b"retry: 10000\n"
        hub.in_thread(viewer.response.readline)
        assert hub.in_thread(viewer.response.readline) == b": still there\n"
        for number in range(events.MOST_NEWS + 1):
            site.stream(str(number)).close()
        assert b"event" not in viewer.rest(), "it asks again, and is told what is open then"


def test_one_that_reads_nothing_keeps_nothing(site: WatchedSite) -> None:
    client = hub.in_thread(sites.deaf, site.server.port, "/streams/events")
    streams = [site.stream(f"camera {number}") for number in range(50)]
    until(lambda: len(site.followers) == 1, "it to follow")
    for _frame in range(40):
        for stream in streams:
            site.frame(stream, JPEG, text="x" * 10_000)
        hub.sleep(0.01)
    assert len(site.views._events._frames) <= 50
    assert len(site.views._events._news) == 0 or len(site.views._events._news) <= 50
    client.close()
