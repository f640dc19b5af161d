"""Training jobs as the server sees them: start, progress, cancel, and the swap of the model that comes out.

A training runs in a process of its own (training_job.py), at lower priority. Its result is a whole model folder, a
*version*, under `<data>/models/.versions/<model>/<time>/<model>`; it serves once the link `<data>/models/<model>` points to
it, which is one rename: the registry prefers what is there to what was shipped, and the engine lets the former version
serve until the new one is warm. Taking the link away brings the shipped model back.

What became of the last training is kept in `<data>/training/<model>.json`, written at its start and at its end, so that
a crash at any moment leaves an honest status.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imageserver.errors import TrainingError
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.shared.manifest import Manifest
from imageserver.transport import hub

TRAINERS = ("lenet",)
"""Models that training_job.py knows how to train."""

WORSE = 0.01
"""How much less accurate than the serving model, 0 to 1, a new one may be on the same pictures and still replace it."""

CANCEL_WITHIN = 10.0
"""Seconds that a job has to end by itself when it is cancelled."""

PREPARE = 120.0
"""Seconds that a training may look for its data before it counts as started."""

Event = dict[str, Any]
"""What followers hear: `state` (idle, preparing, training, evaluating, completed, kept aside, cancelled, failed), `text`, and
while it trains phase, epoch, epochs, part (of the epoch, 0 to 1), loss, accuracy (0 to 1), seconds_left."""


RUNNING = ("preparing", "training", "evaluating")
"""The states of a training that runs."""


@dataclass
class Record:
    """What is known of a model's trainings; the file holds just this. `datetime` in local time, `accuracy` in percent."""

    accuracy: str = ""
    datetime: str = ""
    note: str = ""
    """What became of a later training that does not serve; "" when the last one does."""
    running_since: str = ""


@dataclass
class _Training:
    """One model's training."""

    record: Record
    process: ChildProcess | None = None
    cancelled: bool = False
    event: Event = field(default_factory=lambda: {"state": "idle", "text": "no training runs"})
    changed: hub.Event = field(default_factory=hub.Event)
    prepared: hub.Event = field(default_factory=hub.Event)
    failure: str = ""
    outcome: tuple[str, str] | None = None
    """State and text at its end; told when its process has ended, since until then it counts as running."""

    def tell(self, state: str, text: str, **figures: Any) -> None:
        self.event = {"state": state, "text": text, **figures}
        changed, self.changed = self.changed, hub.Event()
        changed.set()


class Trainings:
    """The trainings of one server. `data`: its state folder; `sources`: a job's arguments by training sample ("mnist", "other").

    `arguments` go to every job's command line. `find` gives a model's manifest.
    """

    def __init__(
        self,
        data: Path,
        find: Callable[[str], Manifest],
        sources: dict[str, list[str]],
        arguments: list[str],
        *,
        log: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.models = data / "models"
        self._records = data / "training"
        self._find, self._sources, self._arguments = find, sources, arguments
        self._log, self._now = log, now
        self._trainings: dict[str, _Training] = {}
        self._stopping = False

    # ---- what the protocols ask -------------------------------------------------------------------------------

    def trainable(self, name: str) -> bool:
        return name in TRAINERS

    def running(self, name: str) -> str:
        """A sentence on the training of `name` that runs; "" when none does."""
        training = self._trainings.get(name)
        return (
            f"{name} is being trained: {training.event['text']}"
            if training is not None and training.process is not None
            else ""
        )

    def start(self, name: str, sample: str) -> None:
        """Start a training; returns once its data was found. TrainingError: one runs, or the data cannot be used."""
        if running := self.running(name):
            raise TrainingError(running)
        others = [other for other in TRAINERS if self.running(other)]
        if others:
            raise TrainingError(f"{others[0]} is being trained; one training at a time")
        if self._stopping:
            raise TrainingError("the server is stopping")
        if sample not in self._sources:
            raise TrainingError(
                "there is no folder of labelled pictures here: the operator can name one by --training-data"
            )
        manifest = self._find(name)
        if (place := self.models / name).exists() and not place.is_symlink():
            raise TrainingError(
                f"the data folder holds a {name} put there by hand, which no training replaces: the operator can move it"
            )
        previous = self._trainings.get(name)
        training = self._trainings[name] = _Training(previous.record if previous else self._read(name))
        version = self.models / ".versions" / name / time.strftime("%Y%m%d-%H%M%S", time.localtime(self._now())) / name
        training.record.running_since = self._timestamp()
        training.process = ChildProcess(
            f"training of {name}",
            "training.job",
            [
                "--model",
                name,
                "--folder",
                str(manifest.folder),
                "--version",
                str(version),
                *self._sources[sample],
                *self._arguments,
            ],
            lambda message: self._on_message(name, training, version, message),
            lambda: self._on_exit(name, training),
        )
        training.tell("preparing", "reading the training data")
        self._write(name, training.record)
        self._log(f"training of {name} on {sample} begins (process {training.process.pid})")
        if not training.prepared.wait(PREPARE):
            training.process.kill()
            raise TrainingError(f"the training data could not be read within {PREPARE:g} s")
        if training.failure:
            raise TrainingError(training.failure)

    def cancel(self, name: str) -> bool:
        """Ask the training of `name` to end; False when none runs."""
        training = self._trainings.get(name)
        if training is None or training.process is None:
            return False
        training.cancelled = True
        training.process.send({"op": "cancel"})
        hub.call_later(CANCEL_WITHIN, training.process.kill)
        return True

    def record(self, name: str) -> Record:
        """What became of the last trainings of `name`."""
        training = self._trainings.get(name)
        if training is None:
            training = self._trainings[name] = _Training(self._read(name))
        return training.record

    def follow(self, name: str, heartbeat: float) -> Iterator[Event | None]:
        """What happens to `name`'s training from now on, beginning with how it stands; None after each `heartbeat` s of silence.

        Ends with the training, at once when none runs, and when the server stops.
        """
        self.record(name)
        training = self._trainings[name]
        last: Event | None = None
        while not self._stopping:
            if training.event is not last:
                last = training.event
                yield last
                if last["state"] not in RUNNING:
                    return
            elif not training.changed.wait(heartbeat):
                yield None

    def stop(self) -> None:
        """End every training, for the server is going down."""
        self._stopping = True
        for training in self._trainings.values():
            if training.process is not None:
                training.cancelled = True
                training.process.kill()
            training.changed.set()

    # ---- what the job says ------------------------------------------------------------------------------------

    def _on_message(self, name: str, training: _Training, version: Path, message: dict[str, Any]) -> None:
        match message["op"]:
            case "prepared":
                self._log(f"training of {name}: {message['text']}")
                training.tell("preparing", "building the network")
                training.prepared.set()
            case "failed":
                training.failure = message["error"]
            case "progress":
                text = (
                    f"{message['phase']}, epoch {message['epoch']} of {message['epochs']}, {message['part']:.0%} of it, "
                    f"loss {message['loss']:.4f}, accuracy so far {message['accuracy'] * 100:.2f} %, "
                    f"about {_span(message['seconds_left'])} left"
                )
                if message["part"] >= 1:
                    self._log(f"training of {name}: {text}")
                training.tell("training", text, **{key: value for key, value in message.items() if key != "op"})
            case "evaluating":
                training.tell("evaluating", "comparing the new model with the one that serves")
            case "done":
                self._finish(name, training, version, message["accuracy"], message["former"])

    def _finish(self, name: str, training: _Training, version: Path, accuracy: float, former: float | None) -> None:
        """Swap, or keep aside what is clearly worse. `former`: the serving model's accuracy on the same pictures."""
        record, percent = training.record, f"{accuracy * 100:.2f}"
        compared = f"{percent} % of the held-out pictures" + (
            f", the model before {former * 100:.2f} %" if former is not None else ""
        )
        if former is not None and accuracy < former - WORSE:
            record.note = (
                f"the training completed at {self._timestamp()} gets {compared}: it was kept aside and does not serve"
            )
            self._log(f"training of {name}: the new model gets {compared}; it is kept aside in {version}")
            training.outcome = ("kept aside", record.note)
        else:
            link = self.models / name
            try:
                hub.in_thread(_point, link, version)
            except OSError as error:
                training.failure = f"the new model could not take the place of the old one ({error.strerror}); the server's log says more"
                self._log(
                    f"training of {name}: {link} cannot be made a link to {version} ({error.strerror}): make it writable, or link it"
                )
                return
            record.accuracy, record.datetime, record.note = percent, self._timestamp(), ""
            self._log(f"training of {name}: the new model gets {compared}; it serves from now on, from {version}")
            training.outcome = ("completed", f"the new model gets {compared}")
        record.running_since = ""
        self._write(name, record)
        hub.in_thread(_prune, self.models / name)

    def _on_exit(self, name: str, training: _Training) -> None:
        assert training.process is not None
        exit_text = training.process.exit_text
        record = training.record
        if training.outcome is None:
            begun, state = record.running_since, "failed"
            if training.cancelled:
                record.note, state = (
                    f"the training begun at {begun} was cancelled; the model from before serves",
                    "cancelled",
                )
            elif training.failure:
                record.note = f"the training begun at {begun} came to nothing: {training.failure}"
            else:
                record.note = f"the training begun at {begun} ended by {exit_text}; the model from before serves"
                training.failure = f"the training ended by {exit_text} before it began"
            self._log(f"training of {name}: {record.note}")
            training.outcome = (state, record.note)
            record.running_since = ""
            self._write(name, record)
        # In this order, so that whoever hears of the end and asks at once is not told that the training still runs.
        training.process = None
        training.tell(*training.outcome)
        training.prepared.set()

    # ---- the record -------------------------------------------------------------------------------------------

    def _read(self, name: str) -> Record:
        """The stored record, or the one shipped with the model. A training that was under way when the server ended is noted."""
        for path in (self._records / f"{name}.json", self._find(name).folder / "training.json"):
            with contextlib.suppress(OSError, ValueError, TypeError):
                record = Record(**json.loads(path.read_text("utf-8")))
                if record.running_since:
                    record.note = f"the training begun at {record.running_since} ended with the server; the model from before serves"
                    record.running_since = ""
                return record
        return Record()

    def _write(self, name: str, record: Record) -> None:
        def write() -> None:
            self._records.mkdir(parents=True, exist_ok=True)
            new = self._records / f".{name}.json"
            new.write_text(json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n", "utf-8")
            new.replace(self._records / f"{name}.json")

        try:
            hub.in_thread(write)
        except OSError as error:
            self._log(
                f"training of {name}: its status cannot be kept ({error.strerror}): make {self._records} writable"
            )

    def _timestamp(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._now()))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _point(link: Path, version: Path) -> None:
    """Make `link` point to `version`, at once."""
    new = link.parent / f".{link.name}.link"
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(version.relative_to(link.parent))
    os.replace(new, link)


def _prune(link: Path) -> None:
    """Remove versions but the serving one and the newest other: kept aside, or one that a worker may still be loading."""
    folder = link.parent / ".versions" / link.name
    serving = link.resolve().parent
    others = sorted((entry for entry in folder.iterdir() if entry.resolve() != serving), key=lambda entry: entry.name)
    for entry in others[:-1]:
        shutil.rmtree(entry, ignore_errors=True)
