"""A shared worker as the server sees it: its process, its memory, what it loads and what it runs.

Models are loaded one after the other, so that the time limit of each counts from when its turn came; the worker runs
batches of other models, or of a model's former version, meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imageserver.inference.server.arena import Arena
from imageserver.inference.server.batching import Source, Work
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.jail.rules import Jail
from imageserver.transport import hub


@dataclass(frozen=True)
class WorkerKind:
    """A program that runs models, and how many batches it has under way; each has a slot of its memory."""

    module: str
    arguments: tuple[str, ...] = ()
    slots: int = wire.SLOTS
    batches: int = 1
    scaled: bool = False
    """It says itself how many batches it takes at the moment, and is told for how long pictures wait."""


LOCAL = WorkerKind("inference.worker.main")
"""One batch at a time; the second slot is for one in advance (dispatcher.py)."""

RETIRE_WITHIN = 15.0
"""Seconds that a batch may still run on a worker that is to end."""


@dataclass(slots=True)
class RunningBatch:
    """What runs together on a worker, in one slot of its memory."""

    model: str
    slot: int
    works: list[tuple[Source, Work]]
    sent: float
    alone: bool = False
    """It is one picture that may have ended a worker before."""


class SharedWorker:
    """Starts on construction; `on_message(worker, message)` and `on_exit(worker)` as ChildProcess calls them.

    `own` is the one model that it is for, "" where it is for all that have no worker of their own. `kind`: its program.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        on_message: Callable[[SharedWorker, wire.Message], None],
        on_exit: Callable[[SharedWorker], None],
        clock: Callable[[], float],
        jail: Jail,
        own: str = "",
        kind: WorkerKind = LOCAL,
    ) -> None:
        self.jail, self.own, self.kind = jail, own, kind
        self.retired = False
        """Its model runs elsewhere now, or not at all: its end is wanted."""
        self.served = False
        """Its own model has been loaded here once."""
        self.arena = Arena(kind.slots, wire.SLOT_BYTES)
        self.loaded: set[str] = set()
        self.batches: dict[int, RunningBatch] = {}
        self.room, self.places = kind.batches, 1
        """Batches that it may have under way, and how many of them run at the same time."""
        self.last_seconds = 1.0
        """How long its last batch took."""
        self.placing_since: float | None = None
        """Since when all of its replicas have waited for room on the cluster."""
        self.leaves = 0
        """Replicas that it was told to leave to a newer version of its model."""
        self.told_waiting = 0.0
        """For how long the oldest picture waited when that was last said to it."""
        self.reads = False
        """It has said hello."""
        self.loading: Manifest | None = None
        self.loading_since = 0.0
        self._to_load: dict[str, Manifest] = {}
        self._clock = clock
        self.process = ChildProcess(
            name,
            kind.module,
            [*arguments, *kind.arguments],
            lambda message: on_message(self, message),
            lambda: on_exit(self),
            jail=jail,
            arena=self.arena,
        )

    @property
    def idle(self) -> bool:
        """Whether it can begin with another batch at once."""
        return len(self.batches) < self.room

    @property
    def begins(self) -> bool:
        """Whether it is still to say what became of what it loads."""
        return not self.reads or self.loading is not None

    @property
    def free_places(self) -> int:
        """Batches that would run at once, were it given them; one at least."""
        return max(1, self.places - len(self.batches))

    @property
    def takes_ahead(self) -> bool:
        """Whether it can be given a batch before it has answered the last one."""
        return self.kind.slots > self.kind.batches and bool(self.arena.free_slots)

    def load(self, manifest: Manifest) -> None:
        """Load a model, anew where it has it, once what was asked for before has loaded."""
        self._to_load[manifest.name] = manifest
        self.load_next()

    def load_next(self) -> None:
        """Begin with the next model, if it reads messages and none is being loaded."""
        if self.reads and self.loading is None and self._to_load:
            name = next(iter(self._to_load))
            self.loading, self.loading_since = self._to_load.pop(name), self._clock()
            self.process.send({"op": "load", "model": name, "folder": str(self.loading.folder)})

    def end_load(self) -> None:
        """What was being loaded has loaded or failed: go on with the next."""
        self.loading = None
        self.load_next()

    def retire(self) -> None:
        """End it, once what it runs is answered."""
        if not self.retired:
            self.retired = True
            self.loaded.clear()
            hub.spawn(self._end)

    def _end(self) -> None:
        while self.batches and not self.overdue(RETIRE_WITHIN):
            hub.sleep(0.05)
        self.process.end()

    def network(self, folder: str) -> Path:
        """The folder that a request to convert names: of what is being loaded, or of a member of it. ValueError."""
        if self.loading is not None:
            own = self.loading.folder
            if Path(folder) in (own, *(own.parent / member for member in self.loading.members)):
                return Path(folder)
        raise ValueError(f"it asked for the conversion of {folder[:200]!r}, which it was not told to load")

    def unload(self, name: str) -> None:
        """Forget a model; a worker that is for this one alone ends."""
        self._to_load.pop(name, None)
        self.loaded.discard(name)
        self.process.send({"op": "unload", "model": name})
        if self.own == name:
            self.retire()

    def begin(self, number: int, model: str) -> RunningBatch:
        """A batch that takes one of the free slots."""
        batch = self.batches[number] = RunningBatch(model, self.arena.take(), [], self._clock())
        return batch

    def finish(self, number: int) -> RunningBatch:
        """Take a batch out and free its slot."""
        batch = self.batches.pop(number)
        self.arena.release(batch.slot)
        return batch

    def last_words(self) -> tuple[list[RunningBatch], str, str]:
        """What it ran when it ended, and in words what it did then and how it ended, for the log."""
        # Those that ran are the first: one sent in advance is not to blame. Else what was being loaded.
        ran = list(self.batches.values())[: self.kind.batches]
        loading = self.loading.name if self.loading and not ran else ""
        lost = sum(len(batch.works) for batch in self.batches.values())
        what = f" while it ran {ran[0].model}" if ran else f" while it loaded {loading}" if loading else ""
        end = f"ended by {self.process.exit_text}{what}; pictures lost: {lost}; a new worker starts"
        return ran, what, end

    def overdue(self, seconds: float) -> bool:
        """Whether a batch takes longer than `seconds`."""
        now = self._clock()
        return any(now - batch.sent > seconds for batch in self.batches.values())
