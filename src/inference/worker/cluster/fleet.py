"""The replicas of a model on the cluster: as many as are wanted, each from its place on a node to its end.

    PLACING ──▶ LOADING ──▶ READY ──▶ DRAINING ──▶ GONE
       └───────────┴──────────┴─── ended, late, or not wanted any longer

A replica lives in a thread (`_live`), which waits for each of these; batches are answered in the threads of those who
ask (`run`). One that ends with a batch, or gives none in time, is killed and another is started.
"""

from __future__ import annotations

import enum
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imageserver.errors import EndpointFailed, ModelError, Unreachable
from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere.cluster import Placement
from imageserver.inference.worker.cluster import answers, delivery
from imageserver.inference.worker.cluster.autoscaler import Autoscaler
from imageserver.inference.worker.cluster.bundle import Bundle, Note
from imageserver.inference.worker.cluster.connection import ClusterConnection, NodeHandle
from imageserver.inference.worker.cluster.node import LoadOrder
from imageserver.inference.worker.cluster.settings import NO_ROOM, PER_REPLICA, ClusterSettings, patience

PAUSES = (1.0, 16.0)
"""Seconds before another replica is started where one could not be: at first, and at most."""
FAILURES = 2
"""In a row, until the model counts as one that does not load: the first may have met a node with a trouble."""
FOREVER = 10 * 365 * 86_400.0
AHEAD_BELOW = 0.15
"""Seconds of a batch: what is handed over can no longer be replaced by a newer frame."""
SMOOTHING = 0.1
"""Part of the latest batch in what one takes."""
LATE = 1.0
LATE_PART = 1 / 8
"""Seconds beyond its time that the answer to a batch may be on its way, at most: as many, or this part of its time,
which is four fifths of what the server waits until it ends this process."""


class ReplicaState(enum.StrEnum):
    """The state of a replica, by the word that people read."""

    PLACING = "placing"
    """it waits for room on a node"""
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """it gets no further batch, and ends when it has answered"""
    GONE = "gone"


@dataclass(eq=False)
class Replica:
    """One of them. Changed under the lock of the fleet."""

    number: int
    state: ReplicaState = ReplicaState.PLACING
    handle: NodeHandle | None = None
    host: str = ""
    batches: int = 0
    """Under way."""
    why: str = ""
    """It was ended for this reason."""

    def kill(self) -> None:
        """End it on its node. Nobody waits for that: a cluster that says nothing takes its time."""
        if self.handle is not None:
            threading.Thread(target=self.handle.kill, name=f"end of replica {self.number}", daemon=True).start()


@dataclass
class FleetFigures:
    """What has happened so far, and how it stands."""

    answered: int = 0
    lost: int = 0
    ended: int = 0
    """Replicas that ended without being told to."""
    states: dict[str, int] = field(default_factory=dict)


class _Replicas:
    """Those that are there. `changed` is held by whoever changes one of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.changed = threading.Condition()
        self.all: list[Replica] = []
        self._clock, self._numbers = clock, 0

    def add(self) -> Replica:
        """A new one."""
        with self.changed:
            self._numbers += 1
            self.all.append(Replica(self._numbers))
            return self.all[-1]

    def of(self, *states: ReplicaState) -> list[Replica]:
        """Those in these states, in their order."""
        return [replica for state in states for replica in self.all if replica.state is state]

    def take(self, end: float, most: int) -> Replica | None:
        """One that has fewer than `most` batches, that with the fewest; None where there was none in time."""
        with self.changed:
            while True:
                able = [replica for replica in self.of(ReplicaState.READY) if replica.batches < most]
                if able:
                    chosen = min(able, key=lambda replica: replica.batches)
                    chosen.batches += 1
                    return chosen
                left = end - self._clock()
                if left <= 0:
                    return None
                self.changed.wait(left)

    def give_back(self, replica: Replica) -> None:
        """It has answered one, or will not."""
        with self.changed:
            replica.batches -= 1
            self.changed.notify_all()


class Fleet:
    """`run` from many threads; `step` now and then, from one.

    Args:
        cluster: where they run.
        bundle: the files of the model.
        order: what a node is told of it.
        placement: what one needs, and how many there may be.
        settings: bounds.
        note: for the log.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cluster: ClusterConnection,
        bundle: Bundle,
        order: LoadOrder,
        placement: Placement,
        settings: ClusterSettings,
        note: Note,
        clock: Callable[[], float],
    ) -> None:
        self.figures = FleetFigures()
        self.loaded: wire.Message | None = None
        """What the first worker said that has loaded it."""
        self.failure = ""
        """Why none loads it."""
        self.seconds = 0.0
        """What a batch takes at present, its way included."""
        self.age = 0.0
        """Seconds for which the oldest picture has waited at the server."""
        self.leaves = 0
        """Replicas fewer than wanted, for a newer version of the model that finds no room; one stays."""
        self._cluster, self._bundle, self._order, self._placement = cluster, bundle, order, placement
        self._settings, self._note, self._clock = settings, note, clock
        self._scaler = Autoscaler(placement.least, placement.most, settings.wait, settings.idle)
        self._replicas = _Replicas(clock)
        self._pause, self._not_before, self._failures = 0.0, 0.0, 0
        self._faults: dict[str, str] = {}
        """What was told last of nodes on which none got ready."""
        self._deliveries: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def ready(self) -> int:
        """Replicas that answer."""
        return len(self._replicas.of(ReplicaState.READY))

    @property
    def room(self) -> int:
        """Batches that may be under way: one for each replica, and the next where that does not get old there."""
        return self.ready * most_batches(self.seconds)

    @property
    def placing(self) -> int:
        """Replicas that wait for room."""
        return len(self._replicas.of(ReplicaState.PLACING))

    @property
    def failing(self) -> bool:
        """Whether there are nodes on which none got ready."""
        return bool(self._faults)

    def run(self, slot: memoryview, items: Sequence[wire.Item]) -> wire.Message:
        """The rest of the message `done` for a batch in `slot`; `lost` where it was not answered."""
        seconds, begun = self._settings.seconds, self._clock()
        replica = self._replicas.take(begun + patience(seconds, self.seconds), most_batches(self.seconds))
        if replica is None:
            self.figures.lost += 1
            return answers.lost(NO_ROOM)
        try:
            done = self._ask(replica, slot, items, begun + seconds)
        except (EndpointFailed, Unreachable, ModelError, ValueError) as error:
            text = f"its answer {error}" if isinstance(error, ValueError) else str(error)
            self._end(replica, text)
            done = answers.lost("its worker on the cluster was lost")
        finally:
            self._replicas.give_back(replica)
        if answers.ENDED in done:
            self._end(replica, "its worker process ended")
        if "lost" in done:
            self.figures.lost += 1
        else:
            self.figures.answered += 1
        return done

    def step(self) -> None:
        """Start, drain and end replicas, so that there are as many as are wanted."""
        now = self._clock()
        with self._replicas.changed:
            ready = self._replicas.of(ReplicaState.READY)
            coming = self._replicas.of(ReplicaState.PLACING, ReplicaState.LOADING)
            busy = sum(replica.batches > 0 for replica in ready)
            wanted = max(1, self._scaler.wanted(now, len(ready), self.age, busy) - self.leaves)
            surplus = len(ready) + len(coming) - wanted
            unwanted = coming[: max(0, surplus)]
            for replica in sorted(ready, key=lambda each: each.batches)[: max(0, surplus - len(unwanted))]:
                replica.state = ReplicaState.DRAINING
            unwanted += [replica for replica in self._replicas.of(ReplicaState.DRAINING) if not replica.batches]
            lacking = -surplus if now >= self._not_before else 0
            self.figures.states = dict(Counter(str(replica.state) for replica in self._replicas.all))
        for replica in unwanted:
            self._end(replica)
        for _ in range(lacking):
            self._begin()

    def stop(self) -> None:
        """End all of them."""
        for replica in list(self._replicas.all):
            self._end(replica)

    # ---- within -------------------------------------------------------------------------------------------------

    def _ask(self, replica: Replica, slot: memoryview, items: Sequence[wire.Item], end: float) -> wire.Message:
        """EndpointFailed, Unreachable, ModelError, ValueError."""
        assert replica.handle is not None
        data, begun = bytes(slot[: answers.extent(items)]), self._clock()
        left = end - begun
        answer = replica.handle.ask("run", data, list(items), left, seconds=left + late(self._settings.seconds))
        self.seconds += (self._clock() - begun - self.seconds) * (SMOOTHING if self.seconds else 1.0)
        return answers.unpack(answer, slot, len(items))

    def _begin(self) -> None:
        replica = self._replicas.add()
        threading.Thread(target=self._live, args=(replica,), name=f"replica {replica.number}", daemon=True).start()

    def _live(self, replica: Replica) -> None:
        """Place, load, and wait for its end."""
        before, how, broken = replica.state, "", False
        try:
            replica.handle = handle = self._cluster.start(self._placement)
            before = self._move(replica, ReplicaState.PLACING)
            about = handle.ask("about", seconds=FOREVER)
            delivery.check(about)
            replica.host = str(about["host"])[:100]
            before = self._move(replica, ReplicaState.LOADING)
            with self._replicas.changed:
                turn = self._deliveries[replica.host]
            with turn:
                delivery.send(handle, self._bundle, self._settings.cache)
            loaded = delivery.load(handle, self._bundle, self._order)
            self.loaded = self.loaded or loaded
            before = self._move(replica, ReplicaState.READY)
            how = str(handle.ask("watch", seconds=FOREVER))
        except (EndpointFailed, Unreachable) as error:
            how = str(error)
        except ModelError as error:
            how, broken = str(error), True
        finally:
            self._end(replica, how or "of an error that nobody expected")
            if replica.handle is not None:
                replica.handle.kill()  # it may have come only after its end
            self._bury(replica, before, broken)

    def _move(self, replica: Replica, state: ReplicaState) -> ReplicaState:
        """To a further state, which is returned. EndpointFailed: it was ended meanwhile."""
        with self._replicas.changed:
            if replica.state is ReplicaState.GONE:
                raise EndpointFailed("it is not wanted any longer")
            replica.state = state
            if state is ReplicaState.READY:
                self._pause, self._failures = 0.0, 0
                self._faults.pop(replica.host, None)
            self._replicas.changed.notify_all()
            return state

    def _end(self, replica: Replica, why: str = "") -> None:
        """Kill it. Harmless when it has ended."""
        with self._replicas.changed:
            if replica.state is ReplicaState.GONE:
                return
            if why and replica.state is not ReplicaState.DRAINING:
                replica.why = why
            replica.state = ReplicaState.GONE
            self._replicas.changed.notify_all()
        replica.kill()

    def _bury(self, replica: Replica, before: ReplicaState, broken: bool) -> None:
        """It is gone: say so where nobody wanted that, and see to it that the next one does not follow at once.

        `broken`: it, or its node, told what is wrong with the model there.
        """
        with self._replicas.changed:
            self._replicas.all.remove(replica)
            if not replica.why:
                return
            if before is ReplicaState.READY:
                self.figures.ended += 1
            else:
                self._pause = min(self._pause * 2, PAUSES[1]) or PAUSES[0]
                self._not_before = self._clock() + self._pause
                self._failures += broken
                if self._failures >= FAILURES and not self.ready:
                    self.failure = replica.why
            if replica.host and before is not ReplicaState.READY:
                if self._faults.get(replica.host) == replica.why:
                    return  # it is tried again every few seconds
                self._faults[replica.host] = replica.why
        where = f" on {replica.host}" if replica.host else ""
        self._note(f"{self._order.model}: replica {replica.number}{where} is gone while {before}: {replica.why}")


def most_batches(usual: float) -> int:
    """Batches for a replica at the same time: one, until it is known that they are quick."""
    return PER_REPLICA if 0 < usual < AHEAD_BELOW else 1


def late(seconds: float) -> float:
    """Seconds that an answer may come beyond its time, where batches have so many."""
    return min(LATE, seconds * LATE_PART)
