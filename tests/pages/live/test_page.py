"""One page's rounds: what is in them, when they go out, how much at once."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from tests.later import Later, replace_in_hub
from tests.streams.test_stream import Engine

from imageserver.accounts.database import User
from imageserver.errors import BodyError
from imageserver.limits import Limits
from imageserver.news import News, NewsKind
from imageserver.pages.live import page as live_page
from imageserver.pages.live.messages import StreamFilter, Watching
from imageserver.pages.live.page import LARGE, LivePage
from imageserver.pages.live.rounds import Rounds
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport.budget import Budget

JPEG = b"\xff\xd8\xff\xe0"


class Wire:
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> bool:
        self.written.append(bytes(data))
        return True

    def messages(self) -> list[Any]:
        """What was written since the last call: what texts say; frames as (id, number, bytes of the picture)."""
        data, found, at = b"".join(self.written), [], 0
        self.written.clear()
        while at < len(data):
            opcode, length = data[at] & 15, data[at + 1]
            size = {126: 2, 127: 8}.get(length, 0)
            if size:
                length = int.from_bytes(data[at + 2 : at + 2 + size], "big")
            payload, at = data[at + 2 + size : at + 2 + size + length], at + 2 + size + length
            if opcode == 1:
                found.append(json.loads(payload))
            else:
                (head,) = struct.unpack_from("<I", payload)
                header = json.loads(payload[4 : 4 + head])
                found.append((header["id"], header["seq"], len(payload) - 4 - head))
        return found


class World:
    """Streams that are real, a page whose rounds go out when they are due, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, user: User | None = None, **limits: Any) -> None:
        self.time = Later()
        replace_in_hub(monkeypatch, live_page, call_later=self.time)
        engine: Any = Engine()
        self.streams, self.engine = Streams(engine, Limits()), engine
        self.wire, self.news = Wire(), News()
        states: Any = None
        self.rounds = Rounds(states, print)
        self.streams.watch(self.rounds)
        self.state: bytes | None = None
        ws: Any = self.wire
        self.page = LivePage(
            ws,
            user,
            admin=False,
            find=self.streams.open_streams.get,
            news=self.news,
            limits=Limits(**limits),
            due=lambda page: page.send_round(self.state),
            clock=self.time.clock,
        )
        self.rounds.add(self.page)
        self.budget = Budget(Limits(), log=print)

    def stream(self, name: str) -> Stream:
        options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0}
        account = self.budget.account("10.0.0.1")
        return self.streams.open(name, name, subscriber=StreamSubscriber(), account=account, **options)

    def answer(self, stream: Stream, size: int = 100) -> None:
        """A frame comes, runs and is answered."""
        stream.offer(JPEG + bytes(size - len(JPEG)))
        source, work = self.engine.turn()
        source.answered(work, {"label": "x"})

    def watch(self, *ids: str) -> None:
        self.rounds.take(self.page, Watching(ids))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_frame_goes_out_at_once_and_the_next_when_the_round_was_drawn(world: World) -> None:
    camera = world.stream("a")
    world.watch("a")
    world.answer(camera)
    assert world.wire.messages() == [("a", 1, 100), {"type": "round", "n": 1}]
    world.answer(camera)
    world.answer(camera)
    world.time.move(10)
    assert world.wire.messages() == []
    world.page.handled(1)
    assert world.wire.messages() == [("a", 3, 100), {"type": "round", "n": 2}]
    world.page.handled(2)
    assert world.wire.messages() == []


def test_rounds_are_no_more_often_than_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, live_fps=10)
    camera = world.stream("a")
    world.watch("a")
    world.answer(camera)
    assert world.wire.messages()[0] == ("a", 1, 100)
    for number in range(1, 4):
        world.page.handled(number)
        world.answer(camera)
        world.time.move(0.06)
        world.answer(camera)
        assert world.wire.messages() == []
        world.time.move(0.05)
        assert world.wire.messages()[0] == ("a", 1 + 2 * number, 100)


def test_a_round_is_one_write(world: World) -> None:
    for name in "abc":
        world.answer(world.stream(name))
    world.watch("a", "b", "c")
    assert len(world.wire.written) == 1
    assert [message[0] for message in world.wire.messages()[:-1]] == ["a", "b", "c"]


def test_a_large_picture_is_not_copied(world: World) -> None:
    world.answer(world.stream("a"))
    world.answer(world.stream("b"), LARGE)
    world.watch("a", "b")
    assert [len(part) for part in world.wire.written][1] == LARGE
    assert world.wire.messages() == [("a", 1, 100), ("b", 1, LARGE), {"type": "round", "n": 1}]


def test_what_is_too_much_for_a_round_comes_in_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, live_round_bytes=64 * 1024)
    cameras = {name: world.stream(name) for name in "abc"}
    for camera in cameras.values():
        world.answer(camera, 40_000)
    world.watch(*cameras)
    order = []
    for number in range(1, 7):
        (frame, _end) = world.wire.messages()
        order.append(frame[0])
        world.answer(cameras[frame[0]], 40_000)  # it has a newer one at once, and has to wait for its turn
        world.page.handled(number)
        world.time.move(1)
    assert order == ["a", "b", "c", "a", "b", "c"]


def test_nothing_goes_to_a_hidden_page(world: World) -> None:
    camera = world.stream("a")
    world.watch("a")
    world.page.show(hidden=True)
    world.answer(camera)
    world.state = b"\x81\x02{}"
    world.page.touch()
    assert world.wire.messages() == []
    world.page.show(hidden=False)
    assert world.wire.messages() == [("a", 1, 100), {}, {"type": "round", "n": 1}]


def test_a_page_may_be_hidden_while_a_round_is_drawn(world: World) -> None:
    camera = world.stream("a")
    world.watch("a")
    world.answer(camera)
    world.wire.messages()
    world.page.show(hidden=True)
    world.page.show(hidden=False)
    world.answer(camera)
    world.time.move(1)
    assert world.wire.messages() == [], "the round before has not been drawn"
    world.page.handled(1)
    assert world.wire.messages()[0] == ("a", 2, 100)


def test_a_state_is_told_once_and_news_with_it(world: World) -> None:
    world.news.tell(NewsKind.WORKER_RESTARTED, "worker 1 ended")
    world.news.tell(NewsKind.LOGIN_REFUSED, "login of anna refused")
    world.page.touch()
    assert world.wire.messages() == []
    world.state = b"\x81\x02{}"
    world.page.touch()
    state, event, end = world.wire.messages()
    assert (state, end) == ({}, {"type": "round", "n": 1})
    assert (event["type"], event["kind"], event["text"]) == ("event", "worker restarted", "worker 1 ended")
    world.page.handled(1)
    world.time.move(1)
    world.page.touch()
    assert world.wire.messages() == []


def test_only_cameras_of_its_user_are_sent_whatever_they_are_called_now(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, User("cook", frozenset({"viewer"}), only=("kitchen",)))
    camera = world.stream("kitchen")
    world.watch("kitchen")
    world.answer(camera)
    assert world.wire.messages()[0] == ("kitchen", 1, 100)
    world.page.handled(1)
    world.time.move(1)
    camera.user = "bedroom"
    world.answer(camera)
    assert world.wire.messages() == []


def test_nothing_is_kept_of_what_has_gone(world: World) -> None:
    world.watch("a", "b")
    world.watch("c")
    assert list(world.rounds._watching) == ["c"]
    world.rounds.remove(world.page)
    assert not world.rounds._watching and not len(world.rounds)
    world.page.touch()
    assert world.wire.messages() == []


def test_rounds_are_numbered(world: World) -> None:
    for number in (-1, 0, 1, 10**30):
        with pytest.raises(BodyError, match="there was no round"):
            world.page.handled(number)
    world.answer(world.stream("a"))
    world.watch("a")
    world.page.handled(1)
    world.page.handled(1)  # said twice


def test_a_filter_is_looked_for_in_any_case(world: World) -> None:
    world.rounds.take(world.page, StreamFilter("KÜCHE"))
    assert world.page.view.filter == "küche"
