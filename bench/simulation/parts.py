"""What each part takes, in seconds: measured by `check.py` and `relay/check.py`, kept in parts.json.

Each of the two keeps its own half, and leaves the other as it is.
"""

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


@dataclass(frozen=True)
class MessageTimes:
    """Of a message over Redis: its bytes, and processor time.

    Args:
        size: bytes to each that hears it.
        redis: of Redis, for the message; and
        each: for each that hears it.
        process: of the process beside a front end that hears it.
        loop: of that front end's loop.
    """

    size: float
    redis: float
    each: float
    process: float
    loop: float


@dataclass(frozen=True)
class RelayTimes:
    """Of what front ends tell each other.

    Args:
        word: a word of life.
        text: a text of /ws.
        rows: `MOST_ROWS` streams of a list, which are known.
        new: of the loop, where they are not known yet; and
        many: where they are of a front end too many.
        tell_process: of the process beside a front end that tells so many rows, which hears them, too; and
        tell_loop: of its loop.
        rest_process: a second, where nothing is said; and
        rest_loop: of the loop; and
        rest_redis: of Redis.
        wake_process: what the first message after a pause takes longer; and
        wake_loop: of the loop; and
        wake_redis: of Redis.
        measured: when and on what.
    """

    word: MessageTimes
    text: MessageTimes
    rows: MessageTimes
    new: float
    many: float
    tell_process: float
    tell_loop: float
    rest_process: float
    rest_loop: float
    rest_redis: float
    wake_process: float
    wake_loop: float
    wake_redis: float
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
    _keep(_rounded(asdict(parts), 7), path)


def load_relay(path: Path = FILE) -> RelayTimes:
    """From a file that `save_relay` wrote."""
    data: dict[str, Any] = json.loads(path.read_text())["relay"]
    said = {name: MessageTimes(**data[name]) for name in ("word", "text", "rows")}
    return RelayTimes(**{**data, **said})


def save_relay(times: RelayTimes, path: Path = FILE) -> None:
    """Into a file, to a nanosecond."""
    _keep({"relay": _rounded(asdict(times), 9)}, path)


def _keep(values: dict[str, Any], path: Path) -> None:
    """Put it beside what else is in the file."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | values, indent=1) + "\n")


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: _rounded(each, digits) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each, digits) for each in value]
    return value
