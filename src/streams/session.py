"""Sessions as streams: every frame, in order, to several stateful models at once, and one merged answer for each.

The third verb of the streams beside `offer` and `ask` (streams.py): `append`. Models run independently; a frame's
prediction goes out when those that take part in it have answered or the merge deadline has passed, always in the
order of the frames. What a model says too late goes out with the next prediction.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from imageserver import metrics
from imageserver.errors import LimitExceeded, ModelError, ModelUnavailable, PictureError, Stopping
from imageserver.inference.server.stateful.models import StatefulModels
from imageserver.inference.server.stateful.queues import Call, Line
from imageserver.inference.shared import image_header
from imageserver.inference.shared.wire import Picture
from imageserver.transport import hub

Prediction = dict[str, Any]
PROTOCOL = "sessions"
LATEST = 2**64 - 1
END_PATIENCE = 10.0
"""Seconds that models have to answer `end` before the last prediction goes out without them."""


class Hearer(Protocol):
    """Who hears of a session. Called in the loop; must not block."""

    def predicted(self, session: Session, prediction: Prediction) -> None: ...

    def ended(self, session: Session) -> None:
        """Nothing follows; the key may be used again."""


@dataclass(slots=True)
class _Frame:
    """A frame on its way through the models."""

    seq: int
    timestamp: int
    size: tuple[int, int]
    received: float
    waiting_for: set[str]
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    overdue: bool = False
    took_part: bool = False


class Session:
    """One person in front of a camera, from start to end. Made by `Sessions.open`."""

    def __init__(self, owner: Sessions, key: str, user: str, rotate: int, timestamp: int, hearer: Hearer) -> None:
        self.key, self.user = key, user
        self.received = self.answered_count = 0
        self.last_heard = owner.clock()
        self._owner, self._hearer, self._rotate = owner, hearer, rotate
        self._timestamp = timestamp
        self._frames: deque[_Frame] = deque()
        self._late: dict[str, dict[str, Any]] = {}
        self._late_errors: dict[str, str] = {}
        self._last: _Frame | None = None  # stands for the end while models answer it
        self._timer: hub.Timer | None = None
        self._end_timer: hub.Timer | None = None
        self._silent = False
        self._sid = owner.new_id()
        self._lines: dict[str, Line] = {}
        self._missing: dict[str, str] = {}
        self._order = owner.models
        if not self._order:
            raise ModelUnavailable(
                "this server has no models for sessions; its operator names them with --session-models"
            )
        for name in self._order:
            try:
                self._lines[name] = owner.stateful.open(name, self._sid, timestamp, self)
            except ModelError as error:  # the others go on without it, and every prediction says so
                self._missing[name] = str(error)
        if not self._lines:
            raise ModelUnavailable("; ".join(dict.fromkeys(self._missing.values())))

    @property
    def over(self) -> bool:
        """Whether it takes no more frames."""
        return self._last is not None or self._silent

    @property
    def now(self) -> int:
        """The present in the client's time, ms since the epoch: what its last message said, and what has passed since."""
        return min(self._timestamp + round((self._owner.clock() - self.last_heard) * 1000), LATEST)

    def append(self, picture: Picture, timestamp: int) -> int:
        """Take a frame (a picture file) of time `timestamp` ms and return its 1-based number. Never waits for a model.

        PictureError: no picture; LimitExceeded: too large, or a queue is full, and then no model gets it;
        ModelUnavailable: no model can take it. It counts all the same.
        """
        self.received += 1
        self.last_heard = self._owner.clock()
        metrics.FRAMES_RECEIVED.inc(PROTOCOL)
        metrics.RECEIVED_BYTES.child(PROTOCOL).value += len(picture)
        try:
            self._owner.check_size(picture)
            size = image_header.read(picture).upright
            if self._rotate in (90, 270):
                size = (size[1], size[0])
            frame = _Frame(self.received, timestamp, size, self._owner.clock(), set())
            self._offer(frame, picture)
        except (PictureError, LimitExceeded, ModelError) as error:
            metrics.FRAMES_REFUSED.inc(PROTOCOL, type(error).__name__)
            raise
        self._timestamp = timestamp
        if not self._silent:  # it was abandoned while a large picture was being copied to a worker
            self._frames.append(frame)
            self._publish()
            self._set_timer()
        return frame.seq

    def end(self, timestamp: int | None = None) -> None:
        """No more frames; each model's `end` is called once it has done what waits, and a last prediction follows.

        `timestamp`: ms since the epoch; None is `now`.
        """
        if self.over:
            return
        timestamp = self.now if timestamp is None else timestamp
        self._last = _Frame(self.received, timestamp, (0, 0), self._owner.clock(), set(self._lines))
        self._end_timer = hub.call_later(END_PATIENCE, self._give_up)
        for line in self._lines.values():
            line.end(timestamp)
        self._publish()

    def abandon(self) -> None:
        """The client is gone: drop what waits, let the models end, tell nobody."""
        if self._silent:
            return
        self._silent = True
        timestamp = self.now
        for line in self._lines.values():
            line.end(timestamp)
            line.drop()
        self._finish()

    # ---- what models answer (stateful.Hearer) -----------------------------------------------------------------

    def outcome(self, line: Line, call: Call, output: dict[str, Any] | None, error: str) -> None:
        frame: _Frame | None = self._last if call.op == "end" else call.ticket
        if self._silent or frame is None:
            return
        name = line.name
        frame.waiting_for.discard(name)
        frame.took_part = True
        if frame.overdue:  # its prediction went out without this model
            if error:
                self._late_errors[name] = error
            if output:
                self._late.setdefault(name, {}).update(output)
            return
        if error:
            frame.errors[name] = error
        if output:
            frame.outputs[name] = output
        self._publish()

    # ---- within -----------------------------------------------------------------------------------------------

    def _offer(self, frame: _Frame, picture: Picture) -> None:
        """Give the frame to every model, or to none when a queue is full. A disabled model is an error in the answer."""
        for line in self._lines.values():
            line.check_room()
        self._owner.stateful.held.check(len(picture) * len(self._lines))
        for name, line in self._lines.items():
            if line.closed:
                continue  # it ended while a large picture was being copied to a worker
            try:
                replaced: _Frame | None = line.append(picture, frame.timestamp, self._rotate, frame)
            except ModelError as error:
                frame.errors[name] = str(error)
                continue
            frame.waiting_for.add(name)
            if replaced is not None:
                replaced.waiting_for.discard(name)
                metrics.FRAMES_REPLACED.inc(PROTOCOL)
        if frame.errors and not frame.waiting_for:
            raise ModelError("; ".join(dict.fromkeys(frame.errors.values())))

    def _publish(self) -> None:
        """Send the predictions of all frames that are complete or overdue, in order."""
        now = self._owner.clock()
        while self._frames:
            frame = self._frames[0]
            if frame.waiting_for and now - frame.received < self._owner.deadline:
                break
            self._frames.popleft()
            frame.overdue = bool(frame.waiting_for)
            # One that newer frames replaced at every model is nobody's: it gets no answer.
            if frame.took_part or frame.overdue or frame.errors:
                self._send(frame)
        if self._last is not None and not self._last.waiting_for and not self._frames:
            self._finish()

    def _set_timer(self) -> None:
        """Look again when the first frame becomes overdue."""
        if self._timer is None and self._frames:
            wait = self._frames[0].received + self._owner.deadline - self._owner.clock()
            self._timer = hub.call_later(max(0.0, wait), self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        self._publish()
        self._set_timer()

    def _send(self, frame: _Frame, *, last: bool = False) -> None:
        merged: Prediction = {}
        for name in self._order:
            merged.update(self._late.pop(name, {}))
            merged.update(frame.outputs.get(name, {}))
        errors = self._missing | self._late_errors | frame.errors
        self._late_errors = {}
        merged |= {"success": True, "timestamp": frame.timestamp, "recv_ts": frame.timestamp, "seq": frame.seq}
        if not last:
            merged["frame"] = {"size": list(frame.size), "mode": "RGB"}
            age = self._owner.clock() - frame.received
            merged["age_ms"] = round(age * 1000, 1)
            metrics.PREDICTION_AGE.observe(age, PROTOCOL)
            self.answered_count += 1
            metrics.FRAMES_PROCESSED.inc(PROTOCOL)
        if errors:
            merged["errors"] = errors
        self._hearer.predicted(self, merged)

    def _give_up(self) -> None:
        """The models take too long to end: the client hears what there is, and what waits for them is dropped."""
        self._finish()
        for line in self._lines.values():
            line.drop()

    def _finish(self) -> None:
        """The last prediction, when there is anything to say, and then nothing of the session is left."""
        if self._owner.forget(self):
            for timer in (self._timer, self._end_timer):
                if timer is not None:
                    timer.cancel()
            if self._last is not None and not self._silent:
                for frame in self._frames:  # models that never answered
                    for name, output in frame.outputs.items():
                        self._late.setdefault(name, {}).update(output)
                if self._last.outputs or self._last.errors or self._late or self._late_errors:
                    self._send(self._last, last=True)
            self._silent = True
            self._frames.clear()
            self._hearer.ended(self)


class Sessions:
    """All sessions of the server. `models` in their order: of equal keys the later model's counts."""

    def __init__(
        self,
        stateful: StatefulModels,
        models: Sequence[str],
        *,
        deadline: float,
        idle: float,
        max_frame_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deadline`: seconds that a frame's prediction waits for slow models; `idle`: seconds after which a silent session ends."""
        self.stateful, self.models = stateful, tuple(models)
        self.deadline, self.clock = deadline, clock
        self._idle, self._max_frame_bytes = idle, max_frame_bytes
        self.new_id = hub.numbered("session-")
        self.open_sessions: set[Session] = set()
        self.stopping = False

    def open(self, key: str, user: str, *, rotate: int, timestamp: int, hearer: Hearer) -> Session:
        """A new session, begun at `timestamp` ms. UnknownModel, ModelUnavailable, Stopping."""
        if self.stopping:
            raise Stopping("the server is stopping")
        session = Session(self, key, user, rotate, timestamp, hearer)
        self.open_sessions.add(session)
        return session

    def check_size(self, picture: Picture) -> None:
        """LimitExceeded when the picture has too many bytes."""
        if len(picture) > self._max_frame_bytes:
            raise LimitExceeded(f"a frame has {len(picture)} bytes; at most {self._max_frame_bytes} are allowed")

    def forget(self, session: Session) -> bool:
        """Called by a session that is over; returns whether it was known until now."""
        known = session in self.open_sessions
        self.open_sessions.discard(session)
        return known

    def run(self) -> None:
        """End sessions that nobody sends frames to, for ever; spawn it."""
        while not self.stopping:
            hub.sleep(min(1.0, self._idle / 4))
            now = self.clock()
            for session in [
                session for session in self.open_sessions if not session.over and now - session.last_heard > self._idle
            ]:
                metrics.LIMITS_HIT.inc("session-idle")
                session.end()

    def stop(self, timeout: float) -> None:
        """End every session and wait for the models' last words, at most `timeout` seconds; then end the models."""
        self.stopping = True
        for session in list(self.open_sessions):
            session.end()
        end = self.clock() + timeout
        while (self.open_sessions or not self.stateful.idle) and self.clock() < end:
            hub.sleep(0.01)
        self.stateful.stop()
