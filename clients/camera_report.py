"""What a camera tells its user: a line for each prediction, the figures at the end. For people, or JSON for machines."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that `describe` needs nothing but Python
    from camera_link import Answer
    from camera_sources import Frame


class Report:
    """Counts and prints. Lines go to standard output, notes to standard error."""

    def __init__(self, as_json: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._json, self._clock = as_json, clock
        self._names: dict[int, tuple[str, float]] = {}
        self._ages: list[float] = []
        self._round_trips: list[float] = []
        self._sent = self._errors = self._dropped = self._lost = 0
        self.skipped = 0

    @property
    def waiting(self) -> bool:
        """Whether an answer is still due: to the newest frame, since older ones may have been dropped for it."""
        return bool(self._names)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def sent(self, seq: int, frame: Frame) -> None:
        """Frame number `seq` of the connection is on its way."""
        self._sent += 1
        self._names[seq] = frame.name, self._clock()

    def answered(self, answer: Answer) -> None:
        """Print what came, and settle every frame up to this one: an older one without an answer was dropped."""
        name, sent_at = self._names.get(answer.seq, ("?", answer.at))
        # A refusal may overtake the prediction of an earlier frame, a prediction never.
        settled = [
            seq for seq in self._names if seq == answer.seq or (seq < answer.seq and answer.prediction is not None)
        ]
        self._dropped += len(settled) - (answer.seq in settled)
        for seq in settled:
            del self._names[seq]
        round_trip = (answer.at - sent_at) * 1000
        if answer.prediction is None:
            self._errors += 1
            self._print({"file": name, "seq": answer.seq, "error": answer.error}, f"{name}: refused: {answer.error}")
            return
        self._ages.append(float(answer.prediction["age_ms"]))
        self._round_trips.append(round_trip)
        self._print(
            {**answer.prediction, "file": name, "round_trip_ms": round(round_trip, 1)},
            f"{name}: {describe(answer.prediction)}",
        )

    def gave_up(self, timeout: float) -> None:
        """The frames still waiting get no answer any more."""
        for name, _sent_at in self._names.values():
            self._print(
                {"file": name, "error": f"no answer within {timeout:g} s"}, f"{name}: no answer within {timeout:g} s"
            )
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
        counts += "".join(
            f", {count} {what}" for what, count in (("refused", self._errors), ("lost", self._lost)) if count
        )
        counts += f", {self.skipped} not sent for want of network speed" if self.skipped else ""
        times = [
            f"{what} {_spread(values)}"
            for what, values in (("age", self._ages), ("round trip", self._round_trips))
            if values
        ]
        self._print({"summary": figures}, "; ".join([counts, *times]))

    def exit_code(self, expected: int = 1) -> int:
        """0 when all is well; 1 when a frame was refused or fewer than `expected` were answered."""
        return 1 if self._errors or len(self._ages) < expected else 0

    def _print(self, machine: dict[str, Any], people: str) -> None:
        print(json.dumps(machine, ensure_ascii=False) if self._json else people, flush=True)


def describe(prediction: dict[str, Any]) -> str:
    """A prediction in a few words: the label and how sure, or each box found."""
    boxes = prediction.get("boxes")
    if boxes is not None:
        found = [
            f"{box['label']} {percent(box['score'])} at {box['x']},{box['y']}, {box['width']}x{box['height']}"
            for box in boxes
        ]
        what = "; ".join(found) or "nothing found"
    elif prediction.get("label") is not None:
        what = f"{prediction['label']} {percent(prediction['score'])}"
    else:
        known = {"model", "timestamp", "age_ms", "seq", "dropped", "size", "labels", "label", "score"}
        what = ", ".join(f"{key} {value}" for key, value in prediction.items() if key not in known) or "nothing found"
    return f"{what} ({prediction['model']}, {prediction['age_ms']:.0f} ms)"


def percent(score: float | None) -> str:
    return "" if score is None else f"{score:.1%}"


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p90, p99 and the largest by the nearest-rank method; None when there is no value."""
    if not values:
        return None
    ordered = sorted(values)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[math.ceil(rank * len(ordered)) - 1], 1) for name, rank in ranks.items()}


def _spread(values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.0f} ms" for name, value in (percentiles(values) or {}).items())
