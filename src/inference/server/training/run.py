"""One training of one model: its process, what that says, and the swap of the model that comes out.

    IDLE      PREPARING ─────▶ TRAINING ─────▶ EVALUATING ─────▶ COMPLETED    it serves
                  │               │                │      └────▶ KEPT_ASIDE   it is clearly worse
                  └───────────────┴────────────────┴───────────▶ CANCELLED, FAILED

The job runs in a process of its own (training/job.py), at lower priority. Until that has ended the training counts as
running, whatever is known of its outcome.
"""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imageserver import news
from imageserver.errors import TrainingError
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.server.training import versions
from imageserver.inference.server.training.records import TrainingRecord, TrainingRecords
from imageserver.inference.shared import wire
from imageserver.jail.rules import Jail
from imageserver.news import NewsKind
from imageserver.transport import hub

WORSE = 0.01
"""How much less accurate than the serving model, 0 to 1, a new one may be on the same pictures and still replace it."""

CANCEL_WITHIN = 10.0
"""Seconds that a job has to end by itself when it is cancelled."""

PREPARE = 120.0
"""Seconds that a training may look for its data before it counts as started."""

STOPPING = "the server is stopping"
"""Why no training begins any more, as a client is told."""

Event = dict[str, Any]
"""What followers are told: `state`, `text`, and while it trains phase, epoch, epochs, part (of the epoch, 0 to 1),
loss, accuracy (0 to 1), seconds_left."""


class TrainingState(enum.StrEnum):
    """The state of a training, by the word that followers read. `TrainingRun.tell` changes it."""

    IDLE = "idle"
    PREPARING = "preparing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    COMPLETED = "completed"
    KEPT_ASIDE = "kept aside"
    CANCELLED = "cancelled"
    FAILED = "failed"


class TrainingRun:
    """`link` is where the model that comes out will serve; `event` is what was told last, `changed` waits for more.

    `ended` is told in a sentence what came of it.
    """

    def __init__(
        self,
        link: Path,
        record: TrainingRecord,
        records: TrainingRecords,
        log: Callable[[str], None],
        now: Callable[[], float],
        ended: Callable[[str], None],
    ) -> None:
        self.name, self.record = link.name, record
        self.event: Event = {"state": TrainingState.IDLE, "text": "no training runs"}
        self.changed = hub.Event()
        self._link, self._records, self._log, self._now = link, records, log, now
        self._ended = ended
        self._version: Path  # made by `start`
        self._process: ChildProcess | None = None
        self._prepared = hub.Event()
        self._cancelled = ""
        """Why it is to end, as a sentence goes on."""
        self._failure = ""
        self._trained = False  # whether there is a version to keep, whatever becomes of it
        self._outcome: tuple[TrainingState, str] | None = None

    @property
    def running(self) -> bool:
        """Whether its process has not ended yet."""
        return self._process is not None

    def start(self, sample: str, folder: Path, arguments: Sequence[str], jail: Callable[[Path], Jail]) -> None:
        """Start the job that trains the model in `folder`; returns once its data was found.

        `jail` gives its jail, where the folder is named in which it may write.

        TrainingError: the data cannot be used, or a version cannot be kept.
        """
        try:  # before the job goes into its jail, or it could not write there
            self._version = hub.in_thread(versions.make, self._link, self._now())
        except OSError as error:
            where = error.filename or self._link.parent
            self._log(f"training of {self.name}: {where} cannot be made ({error.strerror}): make it writable")
            raise TrainingError(f"a trained model cannot be kept here ({error.strerror})") from error
        if self._cancelled:  # by `abort`, meanwhile
            hub.in_thread(versions.discard, self._version)
            raise TrainingError(STOPPING)
        try:
            process = self._process = ChildProcess(
                f"training of {self.name}",
                "training.job",
                ["--model", self.name, "--folder", str(folder), "--version", str(self._version), *arguments],
                self._on_message,
                self._on_exit,
                jail=jail(self._version.parent),
            )
        except OSError as error:
            hub.in_thread(versions.discard, self._version)
            raise TrainingError(f"no process can be started for it now ({error.strerror}); try again later") from error
        self.record.running_since = self._timestamp()
        self.tell(TrainingState.PREPARING, "reading the training data")
        self._records.write(self.name, self.record)
        self._say(f" on {sample} begins (process {process.pid})")
        if not self._prepared.wait(PREPARE):
            process.kill()
            raise TrainingError(f"the training data could not be read within {PREPARE:g} s")
        if self._failure:
            raise TrainingError(self._failure)

    def cancel(self) -> None:
        """Ask it to end; it is killed when it does not within `CANCEL_WITHIN` seconds."""
        if self._process is not None:
            self._cancelled = "was cancelled"
            self._process.send({"op": "cancel"})
            hub.call_later(CANCEL_WITHIN, self._process.kill)

    def abort(self) -> None:
        """Kill it, or let it not begin, as the server is going down; followers are told by its end."""
        self._cancelled = "ended with the server"
        if self._process is not None:
            self._process.kill()

    def tell(self, state: TrainingState, text: str, **figures: Any) -> None:
        """Enter a state, or tell news of it."""
        self.event = {"state": state, "text": text, **figures}
        changed, self.changed = self.changed, hub.Event()
        changed.set()

    # ---- what the job says ------------------------------------------------------------------------------------

    def _on_message(self, message: wire.Message) -> None:
        match message["op"]:
            case "prepared":
                self._say(f": {message['text']}")
                self.tell(TrainingState.PREPARING, "building the network")
                self._prepared.set()
            case "failed":
                self._failure = message["error"]
            case "progress":
                text = (
                    f"{message['phase']}, epoch {message['epoch']} of {message['epochs']}, "
                    f"{message['part']:.0%} of it, "
                    f"loss {message['loss']:.4f}, accuracy so far {message['accuracy'] * 100:.2f} %, "
                    f"about {_span(message['seconds_left'])} left"
                )
                if message["part"] >= 1:
                    self._say(f": {text}")
                figures = {key: value for key, value in message.items() if key != "op"}
                self.tell(TrainingState.TRAINING, text, **figures)
            case "evaluating":
                self.tell(TrainingState.EVALUATING, "comparing the new model with the one that serves")
            case "done":
                self._finish(message["accuracy"], message["former"])

    def _finish(self, accuracy: float, former: float | None) -> None:
        """Swap, or keep aside what is clearly worse. `former`: the serving model's accuracy on the same pictures."""
        self._trained = True
        record, percent = self.record, f"{accuracy * 100:.2f}"
        compared = f"{percent} % of the held-out pictures"
        if former is not None:
            compared += f", the model before {former * 100:.2f} %"
        if former is not None and accuracy < former - WORSE:
            completed = f"the training completed at {self._timestamp()} gets {compared}"
            record.note = f"{completed}: it was kept aside and does not serve"
            self._say(f": the new model gets {compared}; it is kept aside in {self._version}")
            self._outcome = (TrainingState.KEPT_ASIDE, record.note)
        elif self._serve():
            record.accuracy, record.datetime, record.note = percent, self._timestamp(), ""
            self._say(f": the new model gets {compared}; it serves from now on, from {self._version}")
            self._outcome = (TrainingState.COMPLETED, f"the new model gets {compared}")
        if self._outcome is not None:
            self._end_record()
            hub.in_thread(versions.prune, self._link)

    def _serve(self) -> bool:
        try:
            hub.in_thread(versions.serve, self._link, self._version)
        except OSError as error:
            reason = error.strerror
            self._failure = (
                f"the new model could not take the place of the old one ({reason}); the server's log says more"
            )
            advice = f"({reason}): make it writable, or link it"
            self._say(f": {self._link} cannot be made a link to {self._version} {advice}")
            return False
        return True

    def _on_exit(self) -> None:
        process = self._process
        assert process is not None
        if self._outcome is None:
            begun, state = f"the training begun at {self.record.running_since}", TrainingState.FAILED
            if self._cancelled:
                note, state = f"{begun} {self._cancelled}; the model from before serves", TrainingState.CANCELLED
            elif self._failure:
                note = f"{begun} came to nothing: {self._failure}"
            else:
                note = f"{begun} ended by {process.exit_text}; the model from before serves"
                self._failure = f"the training ended by {process.exit_text} before it began"
            self.record.note = note
            self._say(f": {note}")
            self._outcome = (state, note)
            self._end_record()
            if not self._trained:
                hub.in_thread(versions.discard, self._version)
        with contextlib.suppress(OSError):
            self._version.parent.rmdir()  # where nothing came of it
        # In this order, so that whoever hears of the end and asks at once is not told that the training still runs.
        self._process = None
        self.tell(*self._outcome)
        self._ended("{}, {}: {}".format(self.name, *self._outcome))
        news.tell(NewsKind.TRAINING_ENDED, f"the training of {self.name}: {self._outcome[0]}")
        self._prepared.set()

    # ---- the record -------------------------------------------------------------------------------------------

    def _end_record(self) -> None:
        self.record.running_since = ""
        self._records.write(self.name, self.record)

    def _say(self, text: str) -> None:
        self._log(f"training of {self.name}{text}")

    def _timestamp(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._now()))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
