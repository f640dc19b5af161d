"""What people and machines are told: a line for each prediction, the figures at the end."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that `describe` needs nothing but Python
    from client_programs.sources import Frame
    from imageserver_client.camera import Result

CAMERA_KEYS = {"model", "timestamp", "age_ms", "seq", "dropped", "size", "labels", "label", "score", "input", "camera"}
SESSION_KEYS = {"success", "timestamp", "recv_ts", "seq", "frame", "age_ms", "errors", "camera"}
"""What the server adds to what a model says."""


class Printer:
    """Lines go to standard output, for people or as JSON for machines; notes to standard error."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def line(self, machine: dict[str, Any], people: str) -> None:
        print(json.dumps(machine, ensure_ascii=False) if self._json else people, flush=True)


class CameraReport(Printer):
    """Counts the frames of a camera and what became of them.

    Args:
        as_json: print for machines.
        clock: seconds, monotonic.
    """

    def __init__(self, as_json: bool, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(as_json)
        self._clock = clock
        self._names: dict[int, tuple[str, float]] = {}
        self._ages: list[float] = []
        self._round_trips: list[float] = []
        self._sent = self._errors = self._dropped = self._lost = 0
        self.skipped = 0

    @property
    def waiting(self) -> bool:
        """Whether an answer is still due: to the newest frame, since older ones may have been dropped for it."""
        return bool(self._names)

    def sent(self, number: int, frame: Frame) -> None:
        """Frame `number` is on its way."""
        self._sent += 1
        self._names[number] = frame.name, self._clock()

    def answered(self, answer: Result) -> None:
        """Print what came, and settle every frame up to this one: an older one without an answer was dropped."""
        name, sent_at = self._names.get(answer.number, ("?", answer.at))
        # A refusal may overtake the prediction of an earlier frame, a prediction never.
        older = [number for number in self._names if number < answer.number and answer.prediction is not None]
        settled = [*older, answer.number] if answer.number in self._names else older
        self._dropped += len(older)
        for number in settled:
            del self._names[number]
        if answer.prediction is None:
            self._errors += 1
            self.line({"file": name, "seq": answer.number, "error": answer.error}, f"{name}: refused: {answer.error}")
            return
        round_trip = (answer.at - sent_at) * 1000
        self._ages.append(float(answer.prediction["age_ms"]))
        self._round_trips.append(round_trip)
        self.line(
            {**answer.prediction, "file": name, "round_trip_ms": round(round_trip, 1)},
            f"{name}: {describe(answer.prediction)}",
        )

    def gave_up(self, timeout: float) -> None:
        """The frames still waiting get no answer any more."""
        sentence = f"no answer within {timeout:g} s"
        for name, _sent_at in self._names.values():
            self.line({"file": name, "error": sentence}, f"{name}: {sentence}")
        self.forget_waiting()

    def forget_waiting(self) -> None:
        """The connection ended: what was under way is lost."""
        self._lost += len(self._names)
        self._names.clear()

    def summary(self) -> None:
        """Print the figures."""
        self.forget_waiting()
        figures = {
            "sent": self._sent,
            "answered": len(self._ages),
            "dropped": self._dropped,
            "refused": self._errors,
            "lost": self._lost,
            "skipped": self.skipped,
            "age_ms": percentiles(self._ages),
            "round_trip_ms": percentiles(self._round_trips),
        }
        counts = f"{self._sent} sent, {len(self._ages)} answered, {self._dropped} dropped"
        for what, count in (
            ("refused", self._errors), ("lost", self._lost), ("not sent for want of network speed", self.skipped)
        ):  # fmt: skip
            counts += f", {count} {what}" if count else ""
        self.line({"summary": figures}, counts + _spread("age", self._ages) + _spread("round trip", self._round_trips))

    def exit_code(self, expected: int = 1) -> int:
        """0 when all is well; 1 when a frame was refused or fewer than `expected` were answered."""
        return 1 if self._errors or len(self._ages) < expected else 0


class SessionReport(Printer):
    """Counts the frames of a session and what the models said of them."""

    def __init__(self, as_json: bool) -> None:
        super().__init__(as_json)
        self._names: dict[int, str] = {}
        self._ages: list[float] = []
        self._errors: dict[str, int] = {}
        self.sent = self._refused = self._answered = 0

    def frame(self, frame: Frame, refused: str | None) -> None:
        """A frame was sent, and acknowledged or refused."""
        self.sent += 1
        self._names[self.sent] = frame.name
        if refused is not None:
            self._refused += 1
            self.line(
                {"file": frame.name, "seq": self.sent, "error": refused},
                f"{self.sent} {frame.name}: refused: {refused}",
            )

    def predicted(self, prediction: dict[str, Any]) -> None:
        """The models said something about a frame."""
        self._count_errors(prediction)
        self._answered += 1
        age = float(prediction.get("age_ms", 0.0))
        self._ages.append(age)
        name = self._names.get(prediction["seq"], "?")
        said = f"{prediction['seq']} {name}: {describe_session(prediction)} ({age:.0f} ms)"
        self.line({**prediction, "file": name}, said)

    def ended(self, prediction: dict[str, Any]) -> None:
        """The models said their last."""
        self._count_errors(prediction)
        self.line(prediction, f"at the end: {describe_session(prediction)}")

    def summary(self) -> None:
        """Print the figures."""
        figures = {
            "sent": self.sent,
            "refused": self._refused,
            "answered": self._answered,
            "age_ms": percentiles(self._ages),
            "errors": self._errors,
        }
        text = f"{self.sent} sent, {self._answered} answered, {self._refused} refused"
        text += "".join(f"; {name} failed {count} times" for name, count in self._errors.items())
        self.line({"summary": figures}, text + _spread("age", self._ages))

    def exit_code(self) -> int:
        """0 when every frame was taken and there were predictions."""
        return 1 if self._refused or not self._answered else 0

    def _count_errors(self, prediction: dict[str, Any]) -> None:
        for name in prediction.get("errors", ()):
            self._errors[name] = self._errors.get(name, 0) + 1


def describe(prediction: dict[str, Any]) -> str:
    """A camera's prediction in a few words: the label and how sure, or each box found."""
    boxes = prediction.get("boxes")
    if boxes is not None:
        what = "; ".join(
            f"{box['label']} {percent(box['score'])} at {box['x']},{box['y']}, {box['width']}x{box['height']}"
            for box in boxes
        )
    elif isinstance(prediction.get("embedding"), list):
        what = f"a vector of {len(prediction['embedding'])} numbers"
    elif isinstance(prediction.get("values"), dict):
        what = ", ".join(f"{name} {value}" for name, value in prediction["values"].items())
    elif prediction.get("label") is not None:
        what = f"{prediction['label']} {percent(prediction['score'])}"
        what += ", unlike its training pictures" if prediction.get("input") == "unlike" else ""
    else:
        what = in_words(prediction, CAMERA_KEYS)
    return f"{what or 'nothing found'} ({prediction['model']}, {prediction['age_ms']:.0f} ms)"


def describe_session(prediction: dict[str, Any]) -> str:
    """What the models of a session said, and who failed."""
    failed = [f"{name}: {reason}" for name, reason in prediction.get("errors", {}).items()]
    return "; ".join([in_words(prediction, SESSION_KEYS) or "nothing", *failed])


def in_words(prediction: dict[str, Any], leave_out: Collection[str]) -> str:
    """Each key with its value; where there is none, the reason that the model gives as `<key>_reason`."""
    reasons = {f"{key}_reason" for key, value in prediction.items() if value is None}
    said = []
    for key, value in prediction.items():
        if key in leave_out or key in reasons:
            continue
        if value is not None:
            said.append(f"{key} {value}")
        elif (reason := prediction.get(f"{key}_reason")) is not None:
            said.append(f"{key}: {reason}")
        else:
            said.append(f"{key} -")
    return ", ".join(said)


def percent(score: float | None) -> str:
    return "" if score is None else f"{score:.1%}"


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p90, p99 and the largest by the nearest-rank method; None when there is no value."""
    if not values:
        return None
    ordered = sorted(values)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[math.ceil(rank * len(ordered)) - 1], 1) for name, rank in ranks.items()}


def _spread(what: str, times: Sequence[float]) -> str:
    """Percentiles of `times` in ms as the end of a line; nothing when there are none."""
    found = percentiles(times)
    return "" if found is None else f"; {what} " + ", ".join(f"{name} {value:.0f} ms" for name, value in found.items())
