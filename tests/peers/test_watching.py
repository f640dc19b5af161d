"""Streams of others that somebody here looks at: asked for while they are, and shown when they come."""

from __future__ import annotations

from typing import Any

from tests.later import Later
from tests.peers.links import Link, row

from imageserver import metrics
from imageserver.limits import Limits
from imageserver.peers.front_ends import FrontEnds
from imageserver.peers.messages import ALL, FRAME, PREDICTIONS, TO
from imageserver.peers.watching import ViewerWishes
from imageserver.streams.far import LOOKED, FarStream, FarStreams, FarWatcher
from imageserver.transport import hub
from imageserver.transport.budget import Account, Budget

FRAME_SAID: dict[str, Any] = {"seq": 3, "timestamp": 5, "rotate": 90, "prediction": {"label": "7"}, "error": ""}
JPEG = b"\xff\xd8\xff\xe0"


class Watcher(FarWatcher):
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def shown(self, stream: FarStream) -> None:
        self.told.append(("shown", stream.id))

    def predicted(self, stream: FarStream, seq: int, error: str) -> None:
        self.told.append((stream.last_prediction, stream.id, seq, error))


class World:
    def __init__(self, most: int = 10) -> None:
        self.time, self.link = Later(), Link()
        link: Any = self.link
        self.far = FarStreams(100, most, self.time.clock)
        self.budget = Budget(Limits(), log=print)
        self.far.account = lambda: Account(self.budget, "front ends", True)
        self.watcher = Watcher()
        self.far.watchers.append(self.watcher)
        self.others = FrontEnds(link, self.far, 5.0, print, self.time.clock)
        self.watching = ViewerWishes(link, self.others, self.far, self.time.clock)

    def open(self, *ids: str) -> list[FarStream]:
        for identity in ids:
            front = identity.partition(".")[0]
            self.link.hears(ALL, "rows", rows=[row(identity)], cycle=0, piece=0, pieces=0, front=front, run=run(front))
        return [self.far.open[identity] for identity in ids]

    def frame(self, identity: str, picture: bytes = JPEG, **more: Any) -> None:
        front = identity.partition(".")[0]
        self.link.hears(f"{FRAME}{identity}", "frame", picture, front=front, run=run(front), **(FRAME_SAID | more))


def run(front: str) -> str:
    return f"{ord(front):016x}"


def test_what_is_looked_at_is_asked_for_and_nothing_else() -> None:
    world = World()
    door, _garden, hall = world.open("b.1", "b.2", "c.1")
    world.watching.ask()
    assert not world.link.said and not world.link.channels
    assert door.newest is None and hall.newest is None
    world.watching.ask()
    assert [(channel, said["streams"]) for channel, said in world.link.said] == [
        (f"{TO}b", {"b.1": 0}), (f"{TO}c", {"c.1": 0}),
    ]  # fmt: skip
    assert set(world.link.channels) == {f"{FRAME}b.1", f"{FRAME}c.1"}


def test_a_frame_is_shown_and_asked_for_no_more_once_nobody_looks() -> None:
    world = World()
    (door,) = world.open("b.1")
    world.frame("b.1")
    assert not world.watcher.told, "nobody looks"
    assert door.newest is None
    world.frame("b.1", JPEG + bytes(100_000))
    newest = door.newest
    assert newest is not None and newest.rotate == 90 and newest.media_type == "image/jpeg"
    assert (newest.frame.seq, newest.frame.timestamp, newest.prediction) == (3, 5, {"label": "7"})
    assert door.last_prediction == {"label": "7"} and world.watcher.told == [("shown", "b.1")]
    assert world.budget.used == 100_004
    world.watching.ask()
    assert world.link.said[-1][1]["streams"] == {"b.1": 3}
    world.time.move(LOOKED + 0.1)
    world.link.hears(ALL, "alive", new=False, run=run("b"))
    world.watching.ask()
    assert not world.link.channels and not world.budget.used and door.last_prediction == {}
    assert door.wanted, "it is still there"


def test_a_stream_of_one_front_end_is_not_shown_by_another() -> None:
    world = World()
    (door,) = world.open("b.1")
    assert door.newest is None
    world.link.hears(f"{FRAME}b.1", "frame", JPEG, run="00000000000000ee", **FRAME_SAID)
    world.link.hears(PREDICTIONS, "predictions", list=[["b.1", 1, 2, {"label": "x"}, ""]], run="00000000000000ee")
    assert door.newest is None and door.last_prediction == {} and not world.watcher.told


def test_no_more_are_looked_at_than_may_be() -> None:
    world = World(most=2)
    streams = world.open("b.1", "b.2", "b.3")
    before = metrics.LIMITS_HIT.child("redis-watched").value
    assert [stream.newest for stream in streams] == [None] * 3
    world.watching.ask()
    assert world.link.said[-1][1]["streams"] == {"b.1": 0, "b.2": 0}
    assert metrics.LIMITS_HIT.child("redis-watched").value == before + 1


def test_predictions_are_asked_for_while_somebody_follows() -> None:
    world = World()
    world.open("b.1")
    wanted: list[frozenset[str] | None] = [frozenset()]
    world.watching.followed = lambda: wanted[0]
    world.watching.ask()
    assert not world.link.said
    wanted[0] = frozenset({"door"})
    world.watching.ask()
    assert world.link.said.pop()[1]["wanted"] == ["door"] and PREDICTIONS in world.link.channels
    wanted[0] = None
    world.watching.ask()
    assert world.link.said.pop()[1]["wanted"] is None
    world.link.hears(PREDICTIONS, "predictions", list=[["b.1", 1, 2, {"label": "x"}, ""]], run=run("b"))
    assert world.watcher.told == [({"label": "x"}, "b.1", 1, "")]
    wanted[0] = frozenset()
    world.watching.ask()
    assert not world.link.channels


def test_who_asks_once_waits_for_the_first_frame() -> None:
    world = World()
    (door,) = world.open("b.1")
    hub.spawn_later(0.01, world.frame, "b.1")
    with hub.Timeout(60):
        door.await_first()
    assert door.newest is not None
    (hall,) = world.open("c.1")
    hub.spawn_later(0.01, world.far.close, hall)
    with hub.Timeout(60):
        hall.await_first()
    assert hall.newest is None and not hall.wanted


def test_while_redis_is_gone_nothing_is_said() -> None:
    world = World()
    (door,) = world.open("b.1")
    assert door.newest is None
    world.link.up = False
    world.watching.ask()
    assert not world.link.said
    world.link.up = True
    world.watching.ask()
    assert world.link.ops() == [("watch", f"{TO}b")]
