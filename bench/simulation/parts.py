"""What each part takes, in seconds: measured by `check.py`, kept in parts.json, drawn from by chance."""

from __future__ import annotations

import bisect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

FILE = Path(__file__).with_name("parts.json")
RANKS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)
"""Of what a spread keeps of what was measured."""


@dataclass(frozen=True)
class Spread:
    """Durations as they were measured: the one at each of `RANKS`. One alone is always the same."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, measured: Sequence[float]) -> Spread:
        """Of any number of them."""
        inorder = sorted(measured)
        return cls(tuple(inorder[min(int(rank * len(inorder)), len(inorder) - 1)] for rank in RANKS))

    @property
    def median(self) -> float:
        return self.values[RANKS.index(0.5)] if len(self.values) > 1 else self.values[0]

    def draw(self, random: Random) -> float:
        """One of them by chance, straight between the ranks."""
        if len(self.values) == 1:
            return self.values[0]
        rank = random.random()
        at = bisect.bisect_right(RANKS, rank)
        low, high = self.values[at - 1], self.values[at]
        return low + (high - low) * (rank - RANKS[at - 1]) / (RANKS[at] - RANKS[at - 1])


@dataclass(frozen=True)
class ModelTimes:
    """Of a model in a worker: from when a batch is sent to it until its answer is back, by the size of the batch.

    `wake`: what it takes longer than that where front end and worker had nothing to do before: both are to be woken,
    and nothing is in their caches.
    """

    max_batch: int
    batches: dict[int, Spread]
    wake: Spread

    def draw(self, size: int, random: Random) -> float:
        """For a batch of so many; between two sizes that were measured, straight between them."""
        sizes = sorted(self.batches)
        at = bisect.bisect_left(sizes, size)
        if at == len(sizes):
            raise ValueError(f"no batch of {size} was measured")
        upper = self.batches[sizes[at]].draw(random)
        if sizes[at] == size or at == 0:
            return upper
        lower = self.batches[sizes[at - 1]].draw(random)
        return lower + (upper - lower) * (size - sizes[at - 1]) / (sizes[at] - sizes[at - 1])


@dataclass(frozen=True)
class FrontEndTimes:
    """Processor time of a front end's one thread: for a frame that comes, a batch there and back, an answer that goes.

    `connect`: for a camera that connects.
    """

    receive: float
    batch: float
    answer: float
    connect: float


@dataclass(frozen=True)
class Parts:
    """All of them. `measured`: when and on what."""

    front: FrontEndTimes
    models: dict[str, ModelTimes]
    measured: str


def load(path: Path = FILE) -> Parts:
    """From a file that `save` wrote."""
    data: dict[str, Any] = json.loads(path.read_text())
    models = {
        name: ModelTimes(
            each["max_batch"],
            {int(size): Spread(tuple(spread["values"])) for size, spread in each["batches"].items()},
            Spread(tuple(each["wake"]["values"])),
        )
        for name, each in data["models"].items()
    }
    return Parts(FrontEndTimes(**data["front"]), models, data["measured"])


def save(parts: Parts, path: Path = FILE) -> None:
    """Into a file, to a microsecond tenth."""
    path.write_text(json.dumps(_rounded(asdict(parts)), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 7)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
