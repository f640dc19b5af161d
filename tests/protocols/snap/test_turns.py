"""Turns at the disk of the pictures: of lists few wait, of one owner a quarter, and none for ever."""

from __future__ import annotations

import pytest

from imageserver import metrics
from imageserver.errors import LimitExceeded
from imageserver.protocols.snap.turns import DiskTurns
from imageserver.transport import hub
from imageserver.transport.threads import Threads


class Lists:
    """Lists that are asked for, and who got theirs."""

    def __init__(self, turns: DiskTurns) -> None:
        self.turns, self.made, self.refused = turns, list[str | None](), list[str | None]()

    def ask(self, owner: str | None) -> None:
        hub.spawn(self._ask, owner)
        hub.sleep(0)

    def _ask(self, owner: str | None) -> None:
        try:
            with self.turns.listing(owner):
                self.made.append(owner)
        except LimitExceeded:
            self.refused.append(owner)


def test_of_those_that_wait_one_owner_has_a_quarter() -> None:
    lists, hits = Lists(DiskTurns(None, 1, 8)), metrics.LIMITS_HIT.child("snippet-lists")
    before = hits.value
    with lists.turns.listing("address 1"):
        for owner in ("1", "1", "1", "2", "2", "2", "3", "3", "4", "4", "5"):
            lists.ask(f"address {owner}")
        lists.ask(None)
        assert lists.refused == ["address 1", "address 2", "address 5"]
        assert hits.value == before + 3
    for _ in range(20):
        hub.sleep(0)
    assert len(lists.made) == 9 and None in lists.made
    assert not lists.turns._waiting
    lists.ask("address 1")
    assert lists.made[-1] == "address 1"


def test_a_list_waits_for_its_turn_as_long_as_a_step_may_take_but_the_server_itself_for_as_long_as_it_takes() -> None:
    lists = Lists(DiskTurns(Threads("test", 2, 0.05), 1, 8))
    with lists.turns.listing(None):
        lists.ask("address 1")
        lists.ask(None)
        hub.sleep(0.2)
        assert (lists.made, lists.refused) == ([], ["address 1"])
    for _ in range(20):
        hub.sleep(0)
    assert lists.made == [None]
    with pytest.raises(ZeroDivisionError), lists.turns.listing("address 1"):
        divmod(1, 0)
    lists.ask("address 1")
    assert lists.made == [None, "address 1"]
