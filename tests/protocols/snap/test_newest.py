"""The newest picture of each number in a few words: read when pictures came or went, and then only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imageserver.accounts.database import User
from imageserver.errors import Refused
from imageserver.protocols.snap import newest
from imageserver.protocols.snap.newest import NewestSnippets
from imageserver.protocols.snap.pictures import ALL, Row, Sight
from imageserver.transport import hub


class Keeper:
    """Says what it was asked."""

    def __init__(self) -> None:
        self.changes = 0
        self.kept: list[Row] = []
        self.asked: list[Sight] = []
        self.failing = False
        self.hangs: hub.Event | None = None

    def put(self, identity: int, prediction: dict[str, Any], camera: str = "") -> None:
        self.changes += 1
        self.kept.append(Row(1, identity, "jpeg", 9, "now", "file", "", camera, json.dumps(prediction)))

    def rows(self, most: int, sight: Sight) -> list[Row]:
        self.asked.append(sight)
        if self.hangs:
            self.hangs.wait()
        if self.failing:
            raise Refused(503, "the server cannot use the disk of its pictures now; its log says why")
        return self.kept[:most]


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


class Told:
    """What somebody is told who asks again."""

    def __init__(self, keeper: Any) -> None:
        self.snippets = NewestSnippets(keeper, 10)

    def rows(self, user: User | None) -> list[dict[str, Any]]:
        self.snippets.rows(user)
        hub.sleep(0)
        return self.snippets.rows(user)


def test_what_is_told_of_a_picture(keeper: Keeper) -> None:
    keeper.put(1, {"model": "m", "label": "x" * 500, "score": 0.5, "boxes": [[1, 2, 3, 4]], "error": None}, "hall")
    keeper.put(2, {"label": "y", "mesh": "z" * newest.LONGEST})
    keeper.put(3, {"label": ["no", "text"]})
    first, second, third = Told(keeper).rows(None)
    assert first["prediction"] == {"model": "m", "label": "x" * newest.LONGEST_TEXT, "score": 0.5}
    about = {key: value for key, value in first.items() if key != "prediction"}
    assert about == {"id": 1, "received": "now", "image": "snippets/1/image", "camera": "hall"}
    assert second == {"id": 2, "prediction": {}, "received": "now", "image": "snippets/2/image"}
    assert third["prediction"] == {}


def test_the_disk_is_asked_when_something_has_changed(keeper: Keeper) -> None:
    rows = Told(keeper).rows
    assert rows(None) == rows(None) == []
    assert keeper.asked == [ALL]
    keeper.put(1, {})
    assert [row["id"] for row in rows(None)] == [1]
    cook = User("cook", frozenset({"viewer"}), only=("kitchen",))
    rows(cook)
    rows(cook)
    assert keeper.asked == [ALL, ALL, Sight(None, ("kitchen",), names=True)]


def test_while_the_disk_fails_what_was_told_before_is_told(keeper: Keeper) -> None:
    keeper.put(1, {})
    rows = Told(keeper).rows
    before = rows(None)
    keeper.failing = True
    keeper.put(2, {})
    assert rows(None) == before
    keeper.failing = False
    assert [row["id"] for row in rows(None)] == [1, 2]


def test_lists_of_many_users_are_not_all_kept(keeper: Keeper) -> None:
    told = Told(keeper)
    for number in range(2 * newest.MOST_SIGHTS):
        told.rows(User("cook", frozenset({"viewer"}), only=(f"camera {number}",)))
    assert len(told.snippets._found) == newest.MOST_SIGHTS


def test_nobody_waits_for_a_disk_that_hangs(keeper: Keeper) -> None:
    """All live pages are told by one green thread."""
    keeper.put(1, {})
    told = Told(keeper)
    before = told.rows(None)
    assert [row["id"] for row in before] == [1]
    keeper.hangs = hub.Event()
    keeper.put(2, {})
    for _ in range(3):
        assert told.rows(None) == before
    for number in range(2 * newest.MOST_SIGHTS):
        assert told.rows(User("cook", frozenset({"viewer"}), only=(f"camera {number}",))) == []
    assert keeper.asked == [ALL, ALL], "one is read at a time"
    assert len(told.snippets._asked) == newest.MOST_SIGHTS
    hangs, keeper.hangs = keeper.hangs, None
    hangs.set()
    for _ in range(3):
        hub.sleep(0)
    assert [row["id"] for row in told.snippets.rows(None)] == [1, 2]
    assert len(keeper.asked) == 1 + newest.MOST_SIGHTS, "each once"
