"""Two connections to a real Redis: what is said is heard, what is hostile is dropped, and it comes back."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.peers.links import OTHER, RUN
from tests.redis_server import RedisServer
from tests.running import until

from imageserver.config import database
from imageserver.peers import messages
from imageserver.peers.messages import ALL, FRAME

FRAME_SAID = {"seq": 3, "timestamp": 5, "rotate": 0, "prediction": {"label": "7"}, "error": ""}


class End:
    """One end, and all that came to it."""

    def __init__(self, address: str, password: Path | str, name: str, run: str) -> None:
        from imageserver.peers.redis.connection import Bus

        self.states: list[str] = []
        self.bus = Bus(
            database.redis(address), str(password), front_end=name, run=run, most_picture=10**6, most_bytes=2**25,
            most_text_bytes=2**21, state=self.states.append,
        )  # fmt: skip
        self.name, self.run = name, run
        self.heard: list[tuple[str, str]] = []
        self.frames: list[tuple[str, bytes]] = []
        self.dropped: Counter[str] = Counter()
        self._stopping = threading.Event()
        self.bus.begin()
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        while not self._stopping.is_set():
            found, picture = self.bus.inbox.receive()
            self.heard += [(channel, text) for channel, text in found["messages"]]
            if found["frame"]:
                self.frames.append((found["frame"][0], bytes(picture)))
            self.dropped.update(found["dropped"])

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(10)

    @property
    def up(self) -> bool:
        return bool(self.states) and not self.states[-1]

    def say(self, channel: str, op: str, **values: Any) -> bool:
        return self.bus.send([], [], [[channel, messages.encode(op, self.name, self.run, **values)]])


@pytest.fixture
def make(redis: RedisServer, password: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., End]]:
    from imageserver.peers.redis import inbox

    monkeypatch.setattr(inbox, "PATIENCE", 0.05)
    made: list[End] = []

    def new(name: str = "a", run: str = RUN, address: str = redis.address, path: Path | str = password) -> End:
        made.append(End(address, path, name, run))
        return made[-1]

    yield new
    for end in made:
        end.close()


def both(make: Callable[..., End]) -> tuple[End, End]:
    one, other = make(), make("b", OTHER)
    until(lambda: one.up and other.up, "both")
    return one, other


def test_what_one_says_the_other_hears_and_itself_does_not(make: Callable[..., End]) -> None:
    one, other = both(make)
    assert one.bus.send(["imageserver:1:room:x"], [], []) and other.say(ALL, "bye")
    until(lambda: one.heard, "the message")
    assert other.say("imageserver:1:room:x", "text", text="snap", camera="", only=[])
    until(lambda: len(one.heard) == 2, "the text")
    assert one.bus.send([], ["imageserver:1:room:x"], [])
    text = messages.encode("frame", "b", OTHER, **FRAME_SAID)
    assert one.bus.send([f"{FRAME}b.1"], [], [])
    assert other.bus.send([], [], [], (f"{FRAME}b.1", text, memoryview(b"\xff\xd8\n\0")))
    until(lambda: one.frames, "the frame")
    assert one.frames == [(f"{FRAME}b.1", b"\xff\xd8\n\0")]
    assert not other.heard and not one.dropped


def test_what_is_hostile_is_dropped_and_counted(redis: RedisServer, make: Callable[..., End]) -> None:
    one, other = both(make)
    with redis.client() as hostile:
        hostile.publish(ALL, b"\x80\x04garbage")
        hostile.publish(ALL, b"[" * 200_000)
        hostile.publish(ALL, bytes(20 * 2**20))
        hostile.publish(ALL, '{"v": 2}')
        hostile.publish(ALL, messages.encode("closed", "c", OTHER, ids=["b.1"]))
        hostile.publish(f"{messages.TO}a", messages.encode("bye", "b", OTHER))
        assert other.say(ALL, "bye")
    until(lambda: one.heard, "what is sound")
    until(lambda: one.dropped.total() == 6, "all of it")
    assert one.dropped == {"unreadable": 2, "too large": 1, "version": 1, "foreign": 2}
    assert len(one.heard) == 1 and one.up


def test_a_flood_is_held_back(redis: RedisServer, make: Callable[..., End]) -> None:
    one, _other = both(make)
    one.bus.inbox.lists._rate = 10_000
    one.bus.inbox.lists._left = 10_000
    with redis.client() as hostile, hostile.pipeline(transaction=False) as pipeline:
        for _ in range(1000):
            pipeline.publish(ALL, messages.encode("closed", "c", OTHER, ids=["c.1"] * 10))
        pipeline.execute()
    until(lambda: one.dropped["too many"] + len(one.heard) >= 1000, "all of it")
    assert len(one.heard) < 600


def test_it_comes_back_by_itself_without_a_storm(redis: RedisServer, make: Callable[..., End]) -> None:
    one, other = both(make)
    assert one.bus.send(["imageserver:1:room:x"], [], [])
    redis.kill()
    try:
        until(lambda: not one.up and not other.up, "the sentence")
        assert not one.say(ALL, "bye")
        assert "cannot be reached" in one.states[-1] and len(one.states) == 2
        assert one.bus.send(["imageserver:1:room:y"], ["imageserver:1:room:x"], []) is False
    finally:
        redis.start()
    until(lambda: one.up and other.up, "both")
    for room in "xy":
        assert other.say(f"imageserver:1:room:{room}", "text", text=room, camera="", only=[])
    until(lambda: one.heard, "the text")
    assert [channel for channel, _text in one.heard] == ["imageserver:1:room:y"], "what was changed meanwhile holds"
    with redis.client() as asked:
        assert asked.info("stats")["total_connections_received"] < 12


def test_who_may_say_and_not_hear_is_not_up(redis: RedisServer, make: Callable[..., End], tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter22\n")
    with redis.client() as admin:
        rules = ["on", ">hunter22", "resetchannels", "-@all", "+@connection", "+@pubsub"]
        admin.execute_command("ACL", "SETUSER", "deaf", *rules)
        one = make(address=redis.address.replace("//", "//deaf@"), path=path)
        until(lambda: one.states, "the sentence")
        admin.execute_command("ACL", "SETUSER", "deaf", "&imageserver:*")
        until(lambda: one.up, "Redis")
    assert "cannot be reached" in one.states[0] and one.states[1:] == [""]


def test_the_pauses_grow_while_it_lets_us_in_and_throws_us_out(redis: RedisServer, monkeypatch: Any) -> None:
    from imageserver.peers.redis import connection

    class Over(Exception):
        """The test has seen enough."""

    now, pauses, lives = [0.0], [], iter([1.0] * 5 + [connection.SETTLED + 1, 1.0])
    refusals = iter([True] * 3 + [False] * 8)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 10:
            raise Over

    def connect() -> None:
        if next(refusals):
            raise ConnectionRefusedError

    def listen() -> None:
        now[0] += next(lives)
        raise ValueError("thrown out")

    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(connection._chance, "uniform", lambda _low, _high: 1.0)
    bounds = {"most_picture": 1, "most_bytes": 1, "most_text_bytes": 1}
    bus = connection.Bus(database.redis(redis.address), "", front_end="a", run=RUN, state=lambda _why: None, **bounds)
    monkeypatch.setattr(bus, "_connect", connect)
    monkeypatch.setattr(bus, "_listen", listen)
    with pytest.raises(Over):
        bus._watch()
    first, most = connection.PAUSES
    assert pauses[:3] == [first, 2 * first, 4 * first], "it is not there"
    assert pauses[3:] == [first, 2 * first, 4 * first, most, most, first, 2 * first]


@pytest.mark.long
def test_one_that_hangs_is_noticed(redis: RedisServer, make: Callable[..., End]) -> None:
    one, other = both(make)
    redis.kill(signal.SIGSTOP)
    until(lambda: not one.up and not other.up, "the sentence")
    redis.kill(signal.SIGCONT)
    until(lambda: one.up and other.up, "both")


def test_what_nobody_expected_is_told_and_it_is_tried_again(
    make: Callable[..., End], monkeypatch: pytest.MonkeyPatch
) -> None:
    from imageserver.peers.redis.connection import Bus

    with monkeypatch.context() as patch:
        patch.setattr(Bus, "_listen", lambda _bus: {}["s3cret"])
        one = make()
        until(lambda: any(one.states), "a sentence")
        assert "(KeyError in test_connection.py" in max(one.states) and "s3cret" not in max(one.states)
    until(lambda: one.up, "Redis")
    other = make("b", OTHER)
    until(lambda: other.up and other.say(ALL, "bye") and one.heard, "a message")


def test_the_password_comes_from_its_file_and_is_told_to_nobody(
    redis: RedisServer, make: Callable[..., End], tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.write_text("hunter22\n")
    one = make(path=path)
    until(lambda: one.states, "the sentence")
    assert "password" in one.states[0].lower() and "hunter22" not in one.states[0]
    path.write_text("correct horse\n")
    until(lambda: one.up, "Redis")
    nobody = make(path=tmp_path / "none")
    until(lambda: nobody.states, "the sentence")
    assert "No such file" in nobody.states[0]
