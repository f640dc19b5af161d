"""What several models say of the frames of a session, merged: one prediction for each frame, in the frames' order.

A frame's prediction goes out when every model that has the frame has answered, or at its deadline without those that
have not: what they say later goes out with the next prediction. A frame that newer ones have replaced at every model
gets none. The end of a session is waited for like a frame, behind all frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from imageserver import metrics
from imageserver.transport import hub

Prediction = dict[str, Any]
PROTOCOL = "sessions"
"""The metrics' label."""


@dataclass(slots=True, eq=False)
class PendingPrediction:
    """What is known so far of a frame, or of the end of the session. Times are in monotonic seconds."""

    seq: int
    timestamp: int  # milliseconds since the epoch, the client's
    received: float
    due: float  # it waits no longer than that
    size: tuple[int, int] | None = None  # width and height of the upright picture; None for the end
    waiting_for: set[str] = field(default_factory=set)  # models
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    answered: bool = False  # by a model, if only with nothing to say
    sent: bool = False


class Merger:
    """The predictions of one session."""

    def __init__(
        self,
        models: Sequence[str],
        unavailable: dict[str, str],
        *,
        clock: Callable[[], float],
        send: Callable[[Prediction], None],
        finished: Callable[[], None],
    ) -> None:
        """`finished` is called once the end's prediction has gone out, or has turned out to be empty.

        Args:
            models: The models' names; of equal keys the later model's counts.
            unavailable: Models that take no part, and why: every prediction says so.
            clock: Monotonic seconds.
            send: Takes a prediction; must not block.
            finished: Called when nothing follows any more.
        """
        self._models, self._unavailable, self._clock = models, unavailable, clock
        self._send, self._finished = send, finished
        self._frames: deque[PendingPrediction] = deque()
        self._late_outputs: dict[str, dict[str, Any]] = {}
        self._late_errors: dict[str, str] = {}
        self._timer: hub.Timer | None = None
        self.last: PendingPrediction | None = None
        """The end's, once the session is ending."""

    def add(self, frame: PendingPrediction) -> None:
        """Wait for the models that have this frame."""
        self._frames.append(frame)
        self._publish()

    def end(self, last: PendingPrediction) -> None:
        """Wait for what the models say at the end; no frame waits longer than that."""
        self.last = last
        for frame in self._frames:
            frame.due = min(frame.due, last.due)
        self._cancel_timer()
        self._publish()

    def answer(self, pending: PendingPrediction, model: str, output: dict[str, Any] | None, error: str) -> None:
        """Take what a model says of a frame, or of the end. `error` is "" or one sentence."""
        pending.waiting_for.discard(model)
        pending.answered = True
        outputs, errors = pending.outputs, pending.errors
        if pending.sent:
            outputs, errors = self._late_outputs, self._late_errors
        if error:
            errors[model] = error
        if output:
            outputs.setdefault(model, {}).update(output)
        self._publish()

    def close(self) -> None:
        """Send nothing more."""
        self._cancel_timer()
        self._frames.clear()
        self.last = None

    # ---- within -----------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Send the predictions of all frames that are complete or due, in order, and behind them the end's."""
        while self._frames and self._ready(self._frames[0]):
            frame = self._frames.popleft()
            # One that newer frames replaced at every model is nobody's: it gets no answer.
            if frame.answered or frame.waiting_for or frame.errors:
                self._send_merged(frame)
            frame.sent = True
        last = self.last
        if last is not None and not self._frames and self._ready(last):
            if last.outputs or last.errors or self._late_outputs or self._late_errors:
                self._send_merged(last)
            self._finished()
        self._set_timer()

    def _ready(self, pending: PendingPrediction) -> bool:
        return not pending.waiting_for or pending.due <= self._clock()

    def _send_merged(self, pending: PendingPrediction) -> None:
        merged: Prediction = {}
        for model in self._models:
            merged.update(self._late_outputs.pop(model, {}))
            merged.update(pending.outputs.get(model, {}))
        errors = self._unavailable | self._late_errors | pending.errors
        self._late_errors = {}
        timestamp = pending.timestamp
        merged |= {"success": True, "timestamp": timestamp, "recv_ts": timestamp, "seq": pending.seq}
        if pending.size is not None:
            age = self._clock() - pending.received
            metrics.PREDICTION_AGE.observe(age, PROTOCOL)
            metrics.FRAMES_PROCESSED.inc(PROTOCOL)
            merged |= {"frame": {"size": list(pending.size), "mode": "RGB"}, "age_ms": round(age * 1000, 1)}
        if errors:
            merged["errors"] = errors
        self._send(merged)

    def _set_timer(self) -> None:
        """Look again when what waits first is due."""
        first = self._frames[0] if self._frames else self.last
        if self._timer is None and first is not None:
            self._timer = hub.call_later(max(0.0, first.due - self._clock()), self._due)

    def _due(self) -> None:
        self._timer = None
        self._publish()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
