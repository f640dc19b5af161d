"""The newest picture of each number in a few words, for pages that show them again and again."""

from __future__ import annotations

import json
from typing import Any

from imageserver.accounts.database import User
from imageserver.errors import LimitExceeded, Refused
from imageserver.protocols.snap import rights
from imageserver.protocols.snap.keeper import Keeper
from imageserver.protocols.snap.pictures import Row, Sight
from imageserver.transport import hub

LONGEST = 8192
"""Characters of a prediction that is looked into."""
LONGEST_TEXT = 200
"""Characters of a label that are told."""
SHOWN = ("model", "label", "score", "input", "error")
"""What of a prediction is told."""
MOST_SIGHTS = 64
"""Users bound to other cameras each, whose lists are kept."""


class NewestSnippets:
    """Tells what was read last, and reads the records anew, beside it, when pictures came or went since.

    Nobody who asks waits for a disk: one may hang, or others may have their turns at it before. One green thread reads,
    for one user after the other, and only for those who have asked.

    Args:
        keeper: Of the pictures.
        most: How many are told of, those of the lowest numbers.
    """

    def __init__(self, keeper: Keeper, most: int) -> None:
        self._keeper, self._most = keeper, most
        self._found: dict[Sight, tuple[int, list[dict[str, Any]]]] = {}
        self._asked: dict[Sight, int] = {}  # what is to be read, and how often pictures had come or gone by then
        self._reading: hub.Task | None = None

    def rows(self, user: User | None) -> list[dict[str, Any]]:
        """Those that the user may see, as they were read last; none before that. Waits for nothing."""
        sight, changes = rights.sight(user), self._keeper.changes
        former, found = self._found.get(sight, (-1, []))
        if former != changes and (sight in self._asked or len(self._asked) < MOST_SIGHTS):
            self._asked[sight] = changes
            if not self._reading:
                self._reading = hub.spawn(self._read)
        return found

    def _read(self) -> None:
        """Read for all who have asked; what was told before holds while the disk cannot be used."""
        while self._asked:
            sight = next(iter(self._asked))
            changes = self._asked.pop(sight)
            if self._found.get(sight, (-1, []))[0] == changes:
                continue  # asked for while it was read
            try:
                found = [_described(row) for row in self._keeper.rows(self._most, sight)]
            except (Refused, LimitExceeded):
                continue
            self._found.pop(sight, None)
            while len(self._found) >= MOST_SIGHTS:
                del self._found[next(iter(self._found))]
            self._found[sight] = changes, found


def _described(row: Row) -> dict[str, Any]:
    prediction = json.loads(row.prediction) if len(row.prediction) <= LONGEST else {}
    shown = {name: _short(prediction[name]) for name in SHOWN if isinstance(prediction.get(name), (str, float, int))}
    about = {"id": row.id, "prediction": shown, "received": row.received, "image": f"snippets/{row.id}/image"}
    return about | {"camera": row.camera} if row.camera else about


def _short(value: Any) -> Any:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value
