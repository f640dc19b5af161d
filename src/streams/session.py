"""Sessions: every frame, in order, to several stateful models at once, and one merged prediction for each.

`Session.append` is the third verb of the streams, beside `offer` and `ask` (stream.py). Models run independently;
merging.py says when a prediction goes out.

A session's life (`SessionState`):

             a model                end, idle,           the last
             has taken it           server stops         prediction
    OPENING ─────────────► RUNNING ─────────────► ENDING ──────────► ENDED
                              │                      │                 ▲
                              └──────────────────────┴─────────────────┘
                                             abandon
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Protocol

from imageserver import metrics
from imageserver.errors import LimitExceeded, ModelError, ModelUnavailable, PictureError, Stopping
from imageserver.inference.server.stateful.models import StatefulModels
from imageserver.inference.server.stateful.queues import Call, FrameBudget, ModelQueue
from imageserver.inference.shared import image_header
from imageserver.inference.shared.wire import Picture
from imageserver.limits import Limits, hit
from imageserver.streams.merging import PROTOCOL, Merger, PendingPrediction, Prediction
from imageserver.streams.names import LOST, Called, Names
from imageserver.streams.room import next_number, too_large
from imageserver.transport import hub
from imageserver.transport.budget import FULL, Account, Charge, unlimited

LATEST = 2**64 - 1
END_PATIENCE = 10.0
"""Seconds that models have to answer `end` before the last prediction goes out without them."""


class SessionState(Enum):
    """Where a session is in its life."""

    OPENING = auto()  # models are asked whether they take it
    RUNNING = auto()  # it takes frames
    ENDING = auto()  # models do what waits and say their last word
    ENDED = auto()  # nothing follows


class SessionSubscriber(Protocol):
    """Who is told what becomes of a session. Called in the loop; must not block."""

    def predicted(self, session: Session, prediction: Prediction) -> None: ...

    def ended(self, session: Session) -> None:
        """Nothing follows."""


class SessionWatcher:
    """Who is told what becomes of all sessions. Called in the loop; must not block."""

    def began(self, session: Session) -> None:
        """A session has begun."""

    def predicted(self, session: Session, prediction: Prediction) -> None:
        """What its models say of a frame, or at its end."""

    def ended(self, session: Session) -> None:
        """Nothing follows."""


class SessionFrames(FrameBudget):
    """The frames of one session that wait: some of those of all sessions, and of what its client may have waiting."""

    def __init__(self, all_frames: FrameBudget, charge: Charge) -> None:
        self._all_frames, self._charge = all_frames, charge

    @property
    def owner(self) -> str:
        """Whose they are, as `limits.hit` has it."""
        return self._charge.owner

    def check(self, more: int, who: str = "") -> None:
        self._all_frames.check(more, self.owner)
        if not self._charge.fits(more):
            raise LimitExceeded(FULL)

    def add(self, size: int) -> None:
        self._all_frames.add(size)
        self._charge.set(self._charge.size + size)


class Session(Called):
    """One person in front of a camera, from start to end. Made by `Sessions.open`, which explains the arguments."""

    def __init__(
        self,
        owner: Sessions,
        session_id: str,
        connection: str,
        user: str,
        camera: str,
        address: str,
        *,
        rotate: int,
        timestamp: int,
        subscriber: SessionSubscriber,
        account: Account,
    ) -> None:
        self.id, self.connection, self.user = session_id, connection, user
        self.protocol, self.model = PROTOCOL, ", ".join(owner.models)
        self.number, self.begun = next_number(), time.monotonic()
        self.state = SessionState.OPENING
        self.received = self.answered_count = 0
        self.dropped = 0  # replaced by newer ones at every model
        self.last_prediction: Prediction = {}
        self.last_heard = owner.clock()
        self._owner, self._subscriber, self._rotate = owner, subscriber, rotate
        self._timestamp = timestamp
        self._frames = SessionFrames(owner.stateful.budget, account.charge("frames"))
        self._queues: dict[str, ModelQueue] = {}
        unavailable: dict[str, str] = {}
        for name in owner.models:
            try:
                self._queues[name] = owner.stateful.open(name, session_id, timestamp, self, self._frames, account.owner)
            except ModelError as error:  # the others go on without it, and every prediction says so
                unavailable[name] = str(error)
        if not self._queues:
            none = "this server has no models for sessions; its operator names them with --session-models"
            raise ModelUnavailable("; ".join(dict.fromkeys(unavailable.values())) or none)
        self._merger = Merger(
            owner.models,
            unavailable,
            clock=owner.clock,
            send=self._send,
            finished=self._finish,
        )
        self.called = owner.names.take(session_id, camera, user=user, address=address, connection=connection)
        self._enter(SessionState.RUNNING)

    @property
    def running(self) -> bool:
        """Whether it takes frames."""
        return self.state is SessionState.RUNNING

    @property
    def now(self) -> int:
        """The present in the client's time, ms since the epoch: what its last message said plus what has passed."""
        return min(self._timestamp + round((self._owner.clock() - self.last_heard) * 1000), LATEST)

    def append(self, picture: Picture, timestamp: int) -> int:
        """Take a frame of a running session. Never waits for a model; a refused frame counts all the same.

        Args:
            picture: The bytes of a picture file.
            timestamp: Milliseconds since the epoch, the client's.

        Returns:
            The frame's 1-based number.

        Raises:
            PictureError: It is no picture.
            LimitExceeded: It is too large, or a queue is full, and then no model gets it.
            ModelError: No model can take it.
        """
        self.received += 1
        self.last_heard = self._owner.clock()
        self.called.heard = time.monotonic()
        if self.called.state is LOST:
            self._owner.names.sends(self.called)
        metrics.FRAMES_RECEIVED.inc(PROTOCOL)
        metrics.RECEIVED_BYTES.child(PROTOCOL).value += len(picture)
        try:
            if len(picture) > self._owner.max_frame_bytes:
                raise too_large("a frame", len(picture), self._owner.max_frame_bytes, self._frames.owner)
            header = image_header.read(picture)
            if header.decoded_bytes > self._owner.costly_bytes:
                hit("costly_bytes", self._frames.owner)
                raise LimitExceeded(
                    f"the frame takes {header.decoded_bytes} bytes once it is decoded; at most "
                    f"{self._owner.costly_bytes} are taken in a session: send it smaller"
                )
            size = header.upright
            if self._rotate in (90, 270):
                size = (size[1], size[0])
            due = self.last_heard + self._owner.deadline
            frame = PendingPrediction(self.received, timestamp, self.last_heard, due, size)
            self._distribute(frame, picture)
        except (PictureError, LimitExceeded, ModelError) as error:
            metrics.FRAMES_REFUSED.inc(PROTOCOL, type(error).__name__)
            raise
        self._timestamp = timestamp
        if self.state is not SessionState.ENDED:  # abandoned while a large picture was being copied to a worker
            self._merger.add(frame)
        return frame.seq

    def end(self, timestamp: int | None = None) -> None:
        """Take no more frames; each model's `end` is called once it has done what waits, and a last prediction follows.

        Args:
            timestamp: Milliseconds since the epoch; None is `now`.
        """
        if not self.running:
            return
        timestamp = self.now if timestamp is None else timestamp
        received = self._owner.clock()
        self._enter(SessionState.ENDING)
        due, models = received + END_PATIENCE, set(self._queues)
        self._merger.end(PendingPrediction(self.received, timestamp, received, due, waiting_for=models))
        for queue in self._queues.values():
            queue.end(timestamp)

    def abandon(self) -> None:
        """The client is gone: drop what waits, let the models end, send nothing more."""
        if self.state is not SessionState.ENDED:
            self._finish()

    # ---- what models answer (QueueSubscriber) -----------------------------------------------------------------

    def outcome(self, queue: ModelQueue, call: Call, output: dict[str, Any] | None, error: str) -> None:
        pending: PendingPrediction | None = self._merger.last if call.op == "end" else call.ticket
        if pending is not None and self.state is not SessionState.ENDED:
            self._merger.answer(pending, queue.name, output, error)

    # ---- within -----------------------------------------------------------------------------------------------

    def _enter(self, state: SessionState) -> None:
        """The one place that changes the state."""
        self.state = state

    def _distribute(self, frame: PendingPrediction, picture: Picture) -> None:
        """Give the frame to every model, or to none if a queue is full. A disabled model is an error in the answer."""
        for queue in self._queues.values():
            queue.check_room()
        self._frames.check(len(picture) * len(self._queues))
        for name, queue in self._queues.items():
            if queue.closed:
                continue  # it ended while a large picture was being copied to a worker
            try:
                replaced: PendingPrediction | None = queue.append(picture, frame.timestamp, self._rotate, frame)
            except ModelError as error:
                frame.errors[name] = str(error)
                continue
            frame.waiting_for.add(name)
            if replaced is not None:
                replaced.waiting_for.discard(name)
                self.dropped += not replaced.waiting_for and not replaced.answered
                metrics.FRAMES_REPLACED.inc(PROTOCOL)
        if frame.errors and not frame.waiting_for:
            raise ModelError("; ".join(dict.fromkeys(frame.errors.values())))

    def _send(self, prediction: Prediction) -> None:
        if camera := self.called.text:
            prediction["camera"] = camera
        if self.running:  # what models say at the end is about no frame
            self.answered_count += 1
            self.last_prediction = prediction
        self._subscriber.predicted(self, prediction)
        for watcher in self._owner.watchers:
            watcher.predicted(self, prediction)

    def _finish(self) -> None:
        """Nothing of the session is left, but what models that run must still be told."""
        self._enter(SessionState.ENDED)
        self._merger.close()
        for queue in self._queues.values():
            queue.end(self.now)
            queue.drop()
        self._owner.open_sessions.pop(self.id, None)
        self._owner.names.release(self.id)
        self._subscriber.ended(self)
        for watcher in self._owner.watchers:
            watcher.ended(self)


class Sessions:
    """All sessions of the server."""

    def __init__(
        self,
        stateful: StatefulModels,
        models: Sequence[str],
        limits: Limits,
        *,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
        names: Names | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            stateful: Where the models are.
            models: The names of those that take part; of equal keys the later model's counts.
            limits: `max_frame_bytes` and `costly_bytes` bound a frame, `session_idle` the time without one.
            deadline: Seconds that a frame's prediction waits for slow models.
            clock: Monotonic seconds.
            names: Those of the cameras, streams' included; None: of its own.
        """
        self.names = names or Names()
        self.stateful, self.models = stateful, tuple(models)
        self.deadline, self.clock = deadline, clock
        self.max_frame_bytes, self._idle = limits.max_frame_bytes, limits.session_idle
        self.costly_bytes = limits.costly_bytes
        self._new_id = hub.numbered("session-")
        self.open_sessions: dict[str, Session] = {}
        self.watchers: list[SessionWatcher] = []
        self.stopping = False

    def open(
        self,
        connection: str,
        user: str,
        camera: str = "",
        address: str = "",
        *,
        rotate: int,
        timestamp: int,
        subscriber: SessionSubscriber,
        account: Account | None = None,
    ) -> Session:
        """Begin a session.

        Args:
            connection: The id of the client's connection.
            user: Whose frames these are; the connection's id where nobody has authenticated.
            camera: What its client calls the camera, "" for nothing.
            address: Where it comes from.
            rotate: Clockwise degrees that make the frames upright.
            timestamp: When it began: milliseconds since the epoch, the client's.
            subscriber: Who is told of predictions and the end.
            account: To which frames that wait are charged.

        Raises:
            Stopping: The server is stopping.
            ModelUnavailable: No model takes it; the error says why.
        """
        if self.stopping:
            raise Stopping("the server is stopping")
        session = Session(
            self,
            self._new_id(),
            connection,
            user,
            camera,
            address,
            rotate=rotate,
            timestamp=timestamp,
            subscriber=subscriber,
            account=account or unlimited(),
        )
        self.open_sessions[session.id] = session
        for watcher in self.watchers:
            watcher.began(session)
        return session

    def watch(self, watcher: SessionWatcher) -> None:
        """Tell `watcher` of every session, and of what is said of its frames."""
        self.watchers.append(watcher)

    def run(self) -> None:
        """End sessions that nobody sends frames to, for ever; spawn it."""
        while not self.stopping:
            hub.sleep(min(1.0, self._idle / 4))
            self.end_idle()

    def end_idle(self) -> None:
        """End the sessions that got no frame for too long."""
        now = self.clock()
        for session in list(self.open_sessions.values()):
            if session.running and now - session.last_heard > self._idle:
                hit("session_idle", session._frames.owner)
                session.end()

    def stop(self, timeout: float) -> None:
        """End every session and wait for the models' last words, for at most `timeout` seconds; then end the models."""
        self.stopping = True
        for session in list(self.open_sessions.values()):
            session.end()
        end = self.clock() + timeout
        while (self.open_sessions or not self.stateful.idle) and self.clock() < end:
            hub.sleep(0.01)
        self.stateful.stop()
