"""What a soak found: marks that are kept or broken, and the figures behind them, as a page."""

from __future__ import annotations

import platform
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
from bench.soaking.world import Sample
from tests.faults.load import Figures

FLAT = 1.05
"""What a rest may hold more than the rest after the first round."""
FEW = 8
"""Descriptors and threads that may be more: requests that are under way just then."""
SLOWER = 2.0
HELD = ("MB", "descriptors", "threads")
NOTHING = Sample(0.0, 0.0, 0, 0)
WITHIN = 5.0
"""Seconds within which SIGTERM ends the server."""


@dataclass
class Round:
    """One round of attacks with its rest, or the quiet time before.

    `seconds` and `during` are without the rest.
    """

    seconds: float = 0.0
    cameras: Figures = field(default_factory=Figures)
    counts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What became of the requests of other clients, by kind."""
    took: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Milliseconds that they took."""
    during: Sample = NOTHING
    rest: Sample = NOTHING

    def add(self, cameras: Figures, others: dict[str, Any]) -> Figures:
        """Put to it what clients saw since the last time; returns what cameras did."""
        self.cameras.add(cameras)
        for kind, outcomes in others["counts"].items():
            self.counts[kind].update(outcomes)
            self.took[kind] += others["took"][kind]
        return cameras


class Report:
    """Gathers, judges, and is a page of Markdown as a text."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.quiet = Round()
        self.rounds: list[Round] = []
        self.faults: defaultdict[str, list[str]] = defaultdict(list)
        self.attacks: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.beside: defaultdict[str, Figures] = defaultdict(Figures)
        """What cameras saw during an attack."""
        self.unexpected: list[str] = []
        self.dead = False
        self.stopped: tuple[int | str, float] = (0, 0.0)

    def fault(self, name: str, outcome: str) -> None:
        self.faults[name].append(outcome)

    def attack(self, name: str, seen: Counter[str], cameras: Figures) -> None:
        self.attacks[name] += seen
        self.beside[name].add(cameras)

    # ---- marks ------------------------------------------------------------------------------------------------

    def marks(self) -> Iterator[tuple[str, str, bool]]:
        """Each promise: its sentence, the figure, whether it was kept."""
        quiet = self.quiet.cameras.age(0.99)
        ages = sorted(age for found in self.rounds for age in found.cameras.ages)
        storm = Figures(ages=ages).age(0.99)
        figure = f"{storm:.0f} ms, quiet {quiet:.0f} ms"
        yield f"ages of honest cameras, p99, under {SLOWER:g} times the quiet figure", figure, storm < SLOWER * quiet
        lost = sum(found.cameras.lost for found in self.rounds) + self.quiet.cameras.lost
        yield "no honest camera lost its connection", str(lost), not lost
        losses = self._others("lost")
        yield "every other honest request was answered or told", f"{sum(losses.values())} lost", not losses
        yield from self._flat()
        broken = sum(outcome.startswith("broken") for found in self.faults.values() for outcome in found)
        count = sum(map(len, self.faults.values()))
        yield "all was well again after each fault", f"{broken} of {count} broken", not broken
        yield "nothing in the log that no server should say", f"{len(self.unexpected)} lines", not self.unexpected
        code, seconds = self.stopped
        kept = code == 0 and seconds <= WITHIN and not self.dead
        yield f"SIGTERM ends it within {WITHIN:g} s", f"exit code {code} after {seconds:.1f} s", kept

    def _flat(self) -> Iterator[tuple[str, str, bool]]:
        first, last = self.rounds[0].rest, self.rounds[-1].rest
        share = last.rss / first.rss if first.rss else 0.0
        figure = f"{first.rss:.0f} MB after round 1, {last.rss:.0f} MB after round {len(self.rounds)}"
        yield "resident memory at rest flat within 5 %", figure, 0 < share <= FLAT
        for name in ("descriptors", "threads"):
            before, after = getattr(first, name), getattr(last, name)
            yield (
                f"{name} at rest flat within 5 %",
                f"{before}, then {after}",
                after <= max(before * FLAT, before + FEW),
            )

    @property
    def broken(self) -> bool:
        return not all(kept for _, _, kept in self.marks())

    def _others(self, start: str) -> Counter[str]:
        """Outcomes of other clients that begin so, in all rounds."""
        found: Counter[str] = Counter()
        for each in (self.quiet, *self.rounds):
            for kind, outcomes in each.counts.items():
                for outcome, count in outcomes.items():
                    if outcome.startswith(start):
                        found[f"{kind}: {outcome}"] += count
        return found

    # ---- the page ---------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        cores, memory = psutil.cpu_count(), psutil.virtual_memory().total / 1e9
        yield f"# Soak of {self.minutes:g} minutes, {time.strftime('%Y-%m-%d', time.gmtime())}"
        yield ""
        machine = f"{cores} processors, {memory:.0f} GB, {platform.system()} {platform.release()}"
        yield f"{machine}, Python {platform.python_version()}. Attackers have the lowest priority."
        yield ""
        yield "| promise | figure | |"
        yield "| --- | --- | --- |"
        for sentence, figure, kept in self.marks():
            yield f"| {sentence} | {figure} | {'kept' if kept else 'broken'} |"
        yield ""
        columns = (
            "",
            "seconds",
            "answered",
            "p50 / p99 ms",
            "silence s",
            "lost",
            *HELD,
            *(f"at rest: {n}" for n in HELD),
        )
        yield f"| {' | '.join(columns)} |"
        yield "|" + " --- |" * len(columns)
        for name, found in [("quiet", self.quiet), *((str(n), found) for n, found in enumerate(self.rounds, 1))]:
            yield self._row(name, found)
        yield from self._table("fault", self.faults.items())
        yield from self._table("attack", ((name, self._told(name)) for name in self.attacks))
        yield from self._clients()
        for line in self.unexpected[:50]:
            yield f"    {line[:300]}"

    def _row(self, name: str, found: Round) -> str:
        cameras, during, rest = found.cameras, found.during, found.rest
        ages = f"{cameras.age(0.5):.0f} / {cameras.age(0.99):.0f}"
        values = [
            name,
            f"{found.seconds:.0f}",
            f"{cameras.answered} of {cameras.sent}",
            ages,
            f"{cameras.silence:.1f}",
            cameras.lost,
        ]
        values += [
            f"{during.rss:.0f}",
            during.descriptors,
            during.threads,
            f"{rest.rss:.0f}",
            rest.descriptors,
            rest.threads,
        ]
        return "| " + " | ".join(map(str, values)) + " |"

    def _told(self, name: str) -> list[str]:
        """What cameras and attackers saw of an attack."""
        cameras, seen = self.beside[name], self.attacks[name].most_common(6)
        return [f"cameras p99 {cameras.age(0.99):.0f} ms", *(f"{count}x {what}" for what, count in seen)]

    def _table(self, what: str, rows: Any) -> Iterator[str]:
        yield ""
        yield f"| {what} | what came of it |"
        yield "| --- | --- |"
        for name, outcomes in rows:
            yield f"| {name} | {'; '.join(outcomes)} |"

    def _clients(self) -> Iterator[str]:
        yield ""
        yield "| honest client | quiet | p50 / p99 ms | in the storm | p50 / p99 ms |"
        yield "| --- | --- | --- | --- | --- |"
        for kind in sorted({kind for found in (self.quiet, *self.rounds) for kind in found.counts}):
            storm: Counter[str] = Counter()
            took: list[float] = []
            for found in self.rounds:
                storm += found.counts[kind]
                took += found.took[kind]
            values = _said(self.quiet.counts[kind]), _ages(self.quiet.took[kind]), _said(storm), _ages(took)
            yield f"| {' | '.join((kind, *values))} |"


def _said(counts: dict[str, int]) -> str:
    return "; ".join(f"{count}x {outcome}" for outcome, count in Counter(counts).most_common(8))


def _ages(took: list[float]) -> str:
    figures = Figures(ages=sorted(took))
    return f"{figures.age(0.5):.0f} / {figures.age(0.99):.0f}"
