"""Rooms of /ws at two front ends: who hears what, by the rules that hold at one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from tests.later import Later
from tests.peers.links import OTHER, Link

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.limits import Limits
from imageserver.peers import rooms
from imageserver.peers.messages import ROOM
from imageserver.peers.rooms import SharedRooms
from imageserver.protocols.snap.members import Member
from imageserver.protocols.snap.relay import Relay, RelayRoom
from imageserver.transport.websocket.connection import encode_text

ANNA = User("anna", frozenset({"viewer"}))
BOUND = User("bob", frozenset({"viewer"}), only=("door",))
CAMERA = User("cam", frozenset({"camera"}))


class World:
    def __init__(self) -> None:
        self.link = Link()
        link: Any = self.link
        live: Any = None
        self.time = Later()
        self.shared = SharedRooms(link, Limits(), self.time.clock)
        self.relay = Relay(Limits(), live, self.shared)

    def member(self, user: User | None, camera: str = "", room: str = "") -> list[bytes]:
        """Somebody in a room; what it is sent."""
        sent: list[bytes] = []
        ws: Any = mock.Mock(write=sent.append)
        account: Any = SimpleNamespace(owner="x")
        found = self.relay._rooms.setdefault(room, RelayRoom())
        found.add(ws, Member(ws, 10.0, user, camera, account))
        return sent

    def say(self, text: str, user: User | None, camera: str = "", room: str = "") -> None:
        """A client here says something."""
        ws: Any = object()
        account: Any = SimpleNamespace(owner="x")
        sender = Member(ws, 10.0, user, camera, account)
        self.relay._relay(room, self.relay._rooms.setdefault(room, RelayRoom()), text, sender)

    def hear(self, text: str, camera: str = "", only: tuple[str, ...] = (), room: str = "") -> None:
        """A client elsewhere has said something."""
        self.link.hears(f"{ROOM}{room}", "text", text=text, camera=camera, only=list(only))
        self.shared.tell_waiting()


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_said_here_is_told_with_what_its_sender_may_see(world: World) -> None:
    world.say("hello", None)
    world.say("hello", BOUND, "door", "door")
    assert world.link.said[0][0] == ROOM and world.link.said[0][1]["only"] == []
    channel, said = world.link.said[1]
    assert (channel, said["text"], said["camera"], said["only"]) == (f"{ROOM}door", "hello", "door", ["door"])


def test_a_command_of_who_may_not_give_it_is_told_to_nobody(world: World) -> None:
    elsewhere = world.member(None)
    world.say("snap", CAMERA)
    assert not world.link.said and not elsewhere
    world.say("snap", ANNA)
    world.say("news", CAMERA)
    assert [said["text"] for _channel, said in world.link.said] == ["snap", "news"]


def test_what_is_said_elsewhere_reaches_the_room_and_is_not_said_again(world: World) -> None:
    here, there = world.member(None), world.member(None, room="kitchen")
    world.hear("hello")
    assert here == [encode_text("hello")] and not there
    assert not world.link.said


def test_rooms_that_nobody_is_in_are_nobodys(world: World) -> None:
    world.hear("hello", room="cellar")
    assert not world.relay._rooms


@pytest.mark.parametrize(
    ("text", "camera", "only", "hears"),
    [
        ("hello", "door", (), {"anna", "bound"}),
        ("hello", "garden", (), {"anna"}),
        ("hello", "garden", ("garden",), set()),
        ("hello", "door", ("door",), {"bound"}),
        ("snap", "garden", (), {"anna", "bound"}),
        ("snap", "garden", ("garden",), set()),
    ],
)
def test_users_who_are_bound_to_cameras_hear_of_theirs_alone(
    world: World, text: str, camera: str, only: tuple[str, ...], hears: set[str]
) -> None:
    members = {"anna": world.member(ANNA), "bound": world.member(BOUND, "door")}
    world.hear(text, camera, only)
    assert {name for name, sent in members.items() if sent} == hears


def test_news_of_pictures_reach_those_who_may_have_them(world: World) -> None:
    anna, bound, camera = world.member(ANNA), world.member(BOUND), world.member(CAMERA)
    world.link.hears(ROOM, "news", text="{}", owner="cam", camera="garden", run=OTHER)
    world.shared.tell_waiting()
    assert anna and camera and not bound
    world.relay.announce("", "{}", "cam", "door")
    assert world.link.ops() == [("news", ROOM)] and bound


def test_without_redis_nothing_is_told() -> None:
    live: Any = None
    relay = Relay(Limits(), live)
    relay.announce("", "{}", "", "")
    assert not relay._rooms


def test_what_others_say_waits_within_bounds_apart_from_all_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told while it is taken: who is there, and what they list, comes the same way."""
    monkeypatch.setattr(rooms, "WAITING", 3 * rooms.LEAST)
    here = world.member(None)
    before = metrics.REDIS_DROPPED.child("too many").value
    for number in range(5):
        world.link.hears(ROOM, "text", text=str(number), camera="", only=[])
    assert not here
    world.shared.tell_waiting()
    assert here == [encode_text(text) for text in "234"], "the oldest have given way"
    assert metrics.REDIS_DROPPED.child("too many").value == before + 2
    world.shared.tell_waiting()
    assert len(here) == 3


def test_what_others_said_too_long_ago_is_nobodys(world: World) -> None:
    here = world.member(None)
    before = metrics.REDIS_DROPPED.child("late").value
    world.link.hears(ROOM, "text", text="old", camera="", only=[])
    world.time.move(rooms.LATE + 0.1)
    world.link.hears(ROOM, "text", text="new", camera="", only=[])
    world.shared.tell_waiting()
    assert here == [encode_text("new")] and metrics.REDIS_DROPPED.child("late").value == before + 1


def test_no_more_is_told_to_others_than_may_be_and_nothing_of_it_is_encoded(world: World) -> None:
    before = metrics.LIMITS_HIT.child("redis-text-bytes").value
    for _ in range(100):
        world.say("\0" * 2**16, None)
    told = len(world.link.said)
    assert told == 6, "2 MB, of which each text has 0.4 as it is sent"
    world.relay.announce("", "{}", "", "")
    assert len(world.link.said) == told
    assert metrics.LIMITS_HIT.child("redis-text-bytes").value == before + 95
    world.time.move(1.0)
    world.say("snap", None)
    assert world.link.said[-1][1]["text"] == "snap"
