"""What all live pages are told once a second, made once for all that see the same.

A page's view is which streams it lists: those that its user may see, of these the ones that its filter leaves. Rows
are made and encoded once for all views, in pieces, so that the loop is never held however many streams there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from imageserver.accounts.database import User
from imageserver.limits import Limits, hit
from imageserver.pages.live.figures import Figures
from imageserver.pages.live.messages import to_json
from imageserver.streams.far import FarStream
from imageserver.streams.overview import Incoming, Overview, session_values
from imageserver.streams.session import Session
from imageserver.transport.fairness import Turn
from imageserver.transport.websocket import frames

EVERY = 1.0
"""Seconds."""
SOON = 0.05
"""Seconds after which one is made that was asked for in between: whoever types a filter asks several times."""
SHARE = 4
"""Times as long as they took to be made until the next ones, at least: of the processor's time a fifth at most."""


@dataclass(frozen=True, slots=True)
class View:
    """Which streams a page lists: those of `only`, () for all, whose name, user or id contains `filter`."""

    only: tuple[str, ...] = ()
    filter: str = ""
    user: User | None = field(default=None, compare=False)
    """One of those who see the same."""

    def shows(self, name: str, text: str) -> bool:
        """Whether a stream of this `name` is listed; `text` is what the filter looks into."""
        return (not self.only or name in self.only) and self.filter in text


@dataclass(slots=True)
class _Listed:
    rows: list[bytes] = field(default_factory=list)
    total: int = 0


class States:
    """The present state for each view that was asked for.

    Args:
        overview: Of streams and sessions.
        figures: Of models, trainings and the server.
        snippets: Gives the rows of snippets that a user may see, as they are known; waits for nothing, or all would.
        limits: `live_rows`.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        overview: Overview,
        figures: Figures,
        snippets: Callable[[User | None], list[dict[str, Any]]],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._overview, self._figures, self._snippets = overview, figures, snippets
        self._most, self._clock = limits.live_rows, clock
        self._due = 0.0
        self.rest = SOON
        """Seconds for which nothing more is to be made."""
        self._rows: dict[str, bytes] = {}  # by the ids of streams, of this second
        self._common = b""
        self.texts: dict[View, bytes] = {}
        """As they go over the wire."""

    def refresh(self, views: Iterable[View]) -> None:
        """Make the states of these views that are due: all of them once a second, a new one at once. Waits green."""
        begun, former, wanted = self._clock(), set(self.texts), set(views)
        if begun >= self._due:
            self._rows, self.texts = {}, {}
            self._common = self._of_all()
        missing = wanted - self.texts.keys()
        for view, listed in self._list(missing).items():
            if listed.total > len(listed.rows) and view not in former:
                hit("live_rows", f"user {view.user.name}" if view.user else "")
            self.texts[view] = self._text(view, listed)
        self.rest = max(SOON, SHARE * (self._clock() - begun))
        if begun >= self._due:
            self._due = begun + max(EVERY, self.rest)

    @property
    def due_in(self) -> float:
        """Seconds until the next ones."""
        return max(0.0, self._due - self._clock())

    def forget(self) -> None:
        """Nobody looks."""
        self._rows, self.texts, self._common, self._due = {}, {}, b"", 0.0

    def _of_all(self) -> bytes:
        """What every view has in it."""
        turn = Turn(self._clock)
        parts = []
        for name, make in (
            ("models", self._figures.models),
            ("server", self._figures.server),
            ("trainings", self._figures.trainings),
        ):
            turn.pass_on()
            parts.append(f'"{name}":'.encode() + to_json(make()))
        return b",".join(parts)

    def _list(self, views: Iterable[View]) -> dict[View, _Listed]:
        """What each view lists, in one walk over everything that comes in."""
        found = {view: _Listed() for view in views}
        if not found:
            return found
        turn, clock = Turn(self._clock), self._clock
        turn.begin()
        for one in self._overview.everything():
            text = f"{one.name}\n{one.user}\n{one.id}".casefold()
            for view, listed in found.items():
                if view.shows(one.counts_as, text):
                    listed.total += 1
                    if len(listed.rows) < self._most:
                        listed.rows.append(self._row(one))
                if clock() >= turn.ends:
                    turn.pass_on()
        return found

    def _row(self, one: Incoming) -> bytes:
        row = self._rows.get(one.id)
        if row is None:
            described = self._overview.described(one)
            if isinstance(one, FarStream):
                described |= {name: one.row[name] for name in ("kind", "values") if name in one.row} | {"far": True}
            elif isinstance(one, Session):
                described |= {"kind": "session", "values": session_values(one.last_prediction)}
            else:
                described["kind"] = "stream"
            row = self._rows[one.id] = to_json(described)
        return row

    def _text(self, view: View, listed: _Listed) -> bytes:
        snippets = to_json(self._snippets(view.user))
        text = b'{"type":"state","at":%d,"streams":[%b],"total":%d,"snippets":%b,%b}' % (
            time.time() * 1000,
            b",".join(listed.rows),
            listed.total,
            snippets,
            self._common,
        )
        return frames.frame(frames.TEXT, text)
