"""Turns: round robin between parties, one kept for those that did not fail, and nothing lost when somebody gives up."""

from __future__ import annotations

import pytest

from imageserver.accounts.guard.turns import Turns
from imageserver.errors import LimitExceeded, LoginPaused
from imageserver.transport import hub


class Room:
    """Parties that ask for turns, and the order in which they have them."""

    def __init__(self, at_once: int = 1, most: int = 100) -> None:
        self.turns, self.order = Turns(at_once, most), list[str]()
        self.doubtful, self.blocked, self.paused = set[str](), set[str](), set[str]()
        self._go = hub.Event()

    def ask(self, party: str) -> bool:
        if party in self.paused:
            raise LoginPaused(1)
        return party not in self.blocked

    def come(self, *parties: str) -> list[hub.Task]:
        tasks = [hub.spawn(self._come, party) for party in parties]
        self.settle()
        return tasks

    def _come(self, party: str) -> None:
        try:
            with self.turns.turn(party, lambda: self.ask(party), lambda: party in self.doubtful):
                self.order.append(party)
                self._go.wait()
        except LimitExceeded as error:
            self.order.append(f"{party}: {'paused' if isinstance(error, LoginPaused) else 'too many'}")

    def settle(self) -> None:
        for _ in range(20):
            hub.sleep(0)

    def end(self, *tasks: hub.Task) -> str:
        """Let everybody go on; the order in which they came to it."""
        self._go.set()
        for task in tasks:
            task.wait()
        assert not self.turns._waiting
        assert self.turns._count == 0
        return "".join(self.order)


def test_parties_take_turns() -> None:
    room = Room()
    assert room.end(*room.come(*"aaaabbc")) == "aabcaba"


def test_the_doubtful_all_together_have_every_other_turn() -> None:
    room = Room()
    room.doubtful.update("xyz")
    tasks = room.come("a", *"xyzxyz", "b", "c")
    found = room.end(*tasks)
    assert found.index("b") <= 2
    assert found.index("c") <= 4
    assert sorted(found) == sorted("axyzxyzbc")


def test_one_turn_is_kept_for_others() -> None:
    room = Room(at_once=3)
    room.doubtful.add("x")
    tasks = room.come(*"xxxxx")
    assert room.order == ["x", "x"]
    tasks += room.come("a")
    assert room.order == ["x", "x", "a"]
    assert room.end(*tasks).count("x") == 5


def test_where_there_is_only_one_the_doubtful_may_have_it() -> None:
    room = Room()
    room.doubtful.add("x")
    assert room.end(*room.come(*"xx")) == "xx"


def test_who_has_to_wait_for_earlier_ones_keeps_nobody_else_waiting() -> None:
    room = Room()
    room.blocked.add("x")
    tasks = room.come(*"xab")
    assert room.order == ["a"]
    room.blocked.clear()
    assert sorted(room.end(*tasks)) == ["a", "b", "x"]


def test_who_is_refused_when_the_turn_comes_takes_none() -> None:
    room = Room()
    tasks = room.come("a", *"xxxb")
    room.paused.add("x")
    room.end(*tasks)
    assert sorted(room.order) == ["a", "b", *["x: paused"] * 3]


def test_of_one_party_a_quarter_may_wait_and_who_has_most_gives_way() -> None:
    room = Room(most=8)
    tasks = room.come("a", *"xxxx")
    assert room.order == ["a", "x: too many", "x: too many"]
    tasks += room.come(*"bcdefg")
    assert len(room.order) == 3
    tasks += room.come("h")
    assert room.order[3:] == ["x: too many"]
    tasks += room.come("i")
    assert room.order[4:] == ["i: too many"], "nobody has more than one"
    room.end(*tasks)
    assert sorted(room.order[5:]) == sorted("xbcdefgh")


@pytest.mark.parametrize("whose", ["waiting", "having"])
def test_who_is_gone_keeps_no_turn(whose: str) -> None:
    room = Room()
    having, waiting, last = room.come(*"abc")
    (waiting if whose == "waiting" else having).kill()
    room.settle()
    room.end(*([having] if whose == "waiting" else [waiting]), last)
    assert room.turns._free == 1


def test_who_is_gone_in_the_moment_of_the_turn_passes_it_on() -> None:
    room = Room()
    with room.turns.turn("first", lambda: True, lambda: False):
        (waiting,) = room.come("a")
    assert room.turns._free == 0, "it was given to one who has not woken up yet"
    waiting.kill()
    assert room.turns._free == 1
    assert room.order == []
