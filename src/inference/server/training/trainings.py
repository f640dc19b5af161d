"""The trainings of one server: who may start one, one at a time, and who follows it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imageserver import files
from imageserver.errors import TrainingError
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.training.records import TrainingRecord, TrainingRecords
from imageserver.inference.server.training.run import STOPPING, Event, TrainingRun
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.slim import tensorflow
from imageserver.transport import hub

TRAINERS = ("lenet",)
"""Models that training/job.py knows how to train."""
STOP_WITHIN = 1.0
"""Seconds that a killed training has to be gone, with all that it wrote."""


class Trainings:
    """Starts, follows and cancels trainings.

    Args:
        data: the server's state folder, which is there where it can be made.
        find: gives a model's manifest. UnknownModel.
        sources: a job's arguments by training sample ("mnist", "other").
        arguments: for every job's command line.
        jails: for every job.
        ended: told in a sentence what came of each training.
    """

    def __init__(
        self,
        data: Path,
        find: Callable[[str], Manifest],
        sources: dict[str, list[str]],
        arguments: list[str],
        jails: Jails,
        *,
        log: Callable[[str], None],
        now: Callable[[], float] = time.time,
        ended: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self._data, self._models, self._find = data, data / "models", find
        self._mount = files.mount_of(data)
        self._sources, self._arguments, self._jails = sources, arguments, jails
        self._records = TrainingRecords(data / "training", lambda name: find(name).folder, log)
        self._log, self._now, self._ended = log, now, ended
        self._runs: dict[str, TrainingRun] = {}
        self._starting = False
        self.stopping = False
        """The server stops, and no training begins any more."""

    def trainable(self, name: str) -> bool:
        """Whether there is a training for a model of this name."""
        return name in TRAINERS

    def running(self, name: str) -> str:
        """A sentence on the training of `name` that runs; "" when none does."""
        run = self._runs.get(name)
        return f"{name} is being trained: {run.event['text']}" if run is not None and run.running else ""

    def latest(self) -> list[tuple[str, bool, Event]]:
        """The last training of each model since the start: the model's name, whether it runs, what was told last."""
        return [(name, run.running, run.event) for name, run in self._runs.items()]

    def start(self, name: str, sample: str) -> None:
        """Start a training; returns once its data was found. TrainingError: one runs, or the data cannot be used."""
        if running := self.running(name):
            raise TrainingError(running)
        if not tensorflow.is_here():
            raise TrainingError(tensorflow.lacking("training"))
        for other in TRAINERS:
            if self.running(other):
                raise TrainingError(f"{other} is being trained; one training at a time")
        if self._starting:
            raise TrainingError("a training is about to begin; one training at a time")
        if self.stopping:
            raise TrainingError(STOPPING)
        if sample not in self._sources:
            raise TrainingError(
                "there is no folder of labelled pictures here: the operator can name one by --training-data"
            )
        self._starting = True  # until its process counts: others have the loop meanwhile
        try:
            self._begin(name, sample)
        finally:
            self._starting = False

    def _begin(self, name: str, sample: str) -> None:
        self._check_there(name)
        if self.stopping:  # since it was looked
            raise TrainingError(STOPPING)
        manifest = self._find(name)
        link = self._models / name
        if link.exists() and not link.is_symlink():
            reason = "put there by hand, which no training replaces: the operator can move it"
            raise TrainingError(f"the data folder holds a {name} {reason}")
        run = self._runs[name] = self._new_run(name, self.record(name))
        given = self._sources[sample]
        read = [manifest.folder, *(Path(word) for word in given if os.path.isabs(word))]
        run.start(sample, manifest.folder, [*given, *self._arguments], lambda room: self._jails.training(read, room))

    def _check_there(self, name: str) -> None:
        """TrainingError where the data folder or its disk is gone."""
        try:
            hub.in_thread(files.check_there, self._data, self._mount)
        except OSError as error:
            self._log(f"training of {name}: it cannot be begun in {self._data}: {error.strerror}")
            raise TrainingError("a trained model cannot be kept here now; the server's log says why") from error

    def cancel(self, name: str) -> bool:
        """Ask the training of `name` to end; False when none runs."""
        if not self.running(name):
            return False
        self._runs[name].cancel()
        return True

    def record(self, name: str) -> TrainingRecord:
        """What became of the last trainings of `name`."""
        return self._run(name).record

    def follow(self, name: str, heartbeat: float) -> Iterator[Event | None]:
        """What happens to `name`'s training from now on, beginning with how it stands.

        None comes after `heartbeat` seconds of silence.
        Ends with the training, as it does when the server stops, and at once when none runs.
        """
        run = self._run(name)
        last: Event | None = None
        while True:
            if run.event is not last:
                last, over = run.event, not run.running
                yield last
                if over:
                    return
            elif not run.changed.wait(heartbeat):
                yield None

    def stop(self) -> None:
        """End every training, for the server is going down; returns when nothing half is left of them.

        That is `STOP_WITHIN` seconds at most.
        """
        self.stopping = True
        for run in self._runs.values():
            run.abort()
        waited = 0.0
        while (self._starting or any(run.running for run in self._runs.values())) and waited < STOP_WITHIN:
            hub.sleep(0.01)
            waited += 0.01

    def _run(self, name: str) -> TrainingRun:
        """The last training of `name`, or one that has not begun."""
        if name not in self._runs:
            self._runs[name] = self._new_run(name, self._records.read(name))
        return self._runs[name]

    def _new_run(self, name: str, record: TrainingRecord) -> TrainingRun:
        return TrainingRun(self._models / name, record, self._records, self._log, self._now, self._ended)
