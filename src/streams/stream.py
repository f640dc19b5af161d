"""Streams: every source of frames in the server, whatever protocol it speaks.

A `Stream` is one source of frames, with one verb: `offer` (the newest frame wins). `Streams` keeps them all, and
has the other verb, `ask` (one picture, one answer). Results go to whoever subscribed: the stream's own client first,
then everybody who watches them all (results file, windows, pages).

A stream's life (`StreamState`):

             offer               take
    IDLE ────────────► QUEUED ──────────► RUNNING
    ▲ │                  ▲                   │
    │ │ offer, too soon  │ its time          │
    │ │ for its rate     │ has come          │
    │ └────────────► THROTTLED               │
    │                                        │
    └────────────────────────────────────────┘
      answered or lost; it goes on at once with a newer frame, or else once more with one that was lost

    CLOSED ◄──── close, from each of them

While it is QUEUED the engine has the stream, not the frame: a newer frame replaces the one that waits until `take`.
"""

from __future__ import annotations

import time
from enum import Enum, auto

from imageserver import metrics
from imageserver.errors import LimitExceeded, ModelError, Stopping
from imageserver.inference.server.batching import Work
from imageserver.inference.server.engine import Engine
from imageserver.inference.shared import wire
from imageserver.inference.shared.wire import Picture
from imageserver.limits import Limits
from imageserver.streams.frame import Frame, NewestFrame, Prediction, Shown
from imageserver.streams.names import LOST, Called, Names
from imageserver.streams.room import FrameRate, FrameRoom, next_number, too_large
from imageserver.transport import hub
from imageserver.transport.budget import FULL, Account, unlimited


class StreamState(Enum):
    """Where a stream is in its life."""

    IDLE = auto()  # no frame waits and none runs
    THROTTLED = auto()  # a frame waits until the stream's rate allows it
    QUEUED = auto()  # a frame waits for the stream's turn at the engine
    RUNNING = auto()  # a frame is with a worker; a newer one may wait
    CLOSED = auto()  # for good


_IDLE, _THROTTLED, _QUEUED, _RUNNING, _CLOSED = StreamState  # Python 3.11 calls a function for `StreamState.IDLE`


class StreamSubscriber:
    """Who is told what becomes of a stream's frames. Called in the loop; must not block."""

    def opened(self, stream: Stream) -> None:
        """A stream has begun; who watches them all is told."""

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        """The model's answer to a frame."""

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        """The frame was no picture, or the model cannot take it: one sentence."""

    def closed(self, stream: Stream) -> None:
        """The stream has ended; nothing follows."""

    def ending(self) -> None:
        """The server is stopping; who watches all streams is told."""

    def disconnect(self, stream: Stream) -> None:
        """Somebody who may do so wants the stream's client gone."""


class Stream(Called, Shown):
    """One source of frames. At most one runs and one waits; a newer one replaces it. Made by `Streams.open`."""

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        user: str,
        camera: str,
        address: str,
        *,
        protocol: str,
        model: str,
        hz: float,
        rotate: int,
        subscriber: StreamSubscriber,
        account: Account,
    ) -> None:
        self.id, self.user, self.address, self.protocol = stream_id, user, address, protocol
        self.called = streams.names.take(stream_id, camera, user=user, address=address, connection=stream_id)
        self.model, self.rotate = model, rotate
        self.number, self.begun = next_number(), time.monotonic()
        self.received = self.answered_count = self.refused = 0
        self.dropped = 0  # replaced by newer ones or lost with a worker
        self.last_prediction: Prediction = {}
        self._state, self._streams = _IDLE, streams
        self.subscriber = subscriber
        super().__init__(account)
        self._account, self._room, self._rate = account, FrameRoom(account), FrameRate(hz)
        self._waiting: Frame | None = None
        self._timer: hub.Timer | None = None
        self._metric_received = metrics.FRAMES_RECEIVED.child(protocol)
        self._metric_bytes = metrics.RECEIVED_BYTES.child(protocol)
        self._metric_replaced = metrics.FRAMES_REPLACED.child(protocol)

    def offer(self, data: Picture, timestamp: int | None = None) -> int:
        """Take a frame. Never blocks; `received` counts a refused one all the same.

        Args:
            data: The bytes of a picture file; kept until the frame runs.
            timestamp: Milliseconds since the epoch; None: now.

        Returns:
            The frame's `seq`.

        Raises:
            Stopping: The server is stopping.
            LimitExceeded: More bytes than allowed, or than its client may have waiting now.
            ModelError: The model is disabled or gone.
        """
        self.received += 1
        self._metric_received.value += 1
        self._metric_bytes.value += len(data)
        if len(data) > self._streams.max_frame_bytes:
            self.refuse("too large")
            raise too_large("a frame", len(data), self._streams.max_frame_bytes, self._account.owner)
        if self._streams.stopping:
            self.refuse("stopping")
            raise Stopping("the server is stopping")
        if len(data) > self._room.largest and not self._room.grow(len(data)):
            self.refuse("memory")
            raise LimitExceeded(FULL)
        if self._waiting is not None:
            self.dropped += 1
            self._metric_replaced.value += 1
        self.called.heard = now = time.monotonic()
        if self.called.state is LOST:
            self._streams.names.sends(self.called)
        self._waiting = Frame(data, self.received, timestamp if timestamp is not None else int(time.time() * 1000), now)
        if self._state is _IDLE:
            try:
                self._schedule()
            except ModelError:
                self._waiting = None
                self.refuse("model")
                raise
        return self.received

    def refuse(self, reason: str) -> None:
        """Count a frame that is turned away."""
        self.refused += 1
        metrics.FRAMES_REFUSED.inc(self.protocol, reason)

    def configure(self, *, model: str | None = None, hz: float | None = None) -> None:
        """Change model or rate from the next frame on.

        Args:
            model: The model's name; None: as it is.
            hz: Most frames a second that are processed, 0 for no cap; None: as it is.

        Raises:
            UnknownModel, ModelUnavailable: Nothing is changed.
        """
        if model is not None and model != self.model:
            self._streams.engine.prepare(model)
            self.model = model
        if hz is not None:
            self._rate = FrameRate(hz)

    def close(self) -> None:
        """End the stream; what runs is not answered any more. Harmless when it has ended."""
        if self._state is _CLOSED:
            return
        self._enter(_CLOSED)
        self._waiting = None
        self._room.give_back()
        self.show_none()
        if self._timer is not None:
            self._timer.cancel()
        self._streams.forget(self)
        self.subscriber.closed(self)

    # ---- the engine's side (pool.Source) ----------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        return self._state is not _CLOSED

    def take(self, model: str) -> Work | None:
        if model != self.model and self._waiting is not None:
            # The model was changed while the stream waited for a turn at the former one.
            self._go_on()
            return None
        frame, self._waiting = self._waiting, None
        if frame is None:
            return None  # closed while it was queued
        self._enter(_RUNNING)
        frame.model = model
        self._rate.began()
        return Work(frame.data, rotate=self.rotate, ticket=frame, owner=self._account.owner)

    def answered(self, work: Work, result: wire.Result) -> None:
        frame: Frame = work.ticket
        if self._state is not _CLOSED:
            if "error" in result:
                self.refuse(result["reason"])
                self._answer(frame, {}, result["error"])
            else:
                self._deliver(frame, result)
        self._go_on()

    def lost(self, work: Work, reason: str) -> None:
        frame: Frame = work.ticket
        newest = self._waiting is None and self._state is not _CLOSED
        if newest and not frame.lost:
            frame.lost, self._waiting = True, frame
        else:
            self.dropped += 1
            metrics.FRAMES_LOST.inc(self.protocol, "worker died")
            if newest:  # or its client might wait for ever
                self._answer(frame, {}, f"{reason} while {frame.model!r} ran on this frame, twice")
        self._go_on()

    # ---- within -----------------------------------------------------------------------------------------------

    def _deliver(self, frame: Frame, result: wire.Result) -> None:
        self.answered_count += 1
        metrics.FRAMES_PROCESSED.inc(self.protocol)
        age = time.monotonic() - frame.received
        metrics.PREDICTION_AGE.observe(age, self.protocol)
        about = {"timestamp": frame.timestamp, "age_ms": round(age * 1000, 1), "seq": frame.seq}
        prediction: Prediction = {"model": frame.model, **result, **about, "dropped": self.dropped}
        if camera := self.called.text:
            prediction["camera"] = camera
        self.last_prediction = prediction
        self._answer(frame, prediction, "")

    def _answer(self, frame: Frame, prediction: Prediction, error: str) -> None:
        self.show(NewestFrame(frame, prediction, error, self.rotate))
        self._streams.publish(self, frame, prediction, error)

    def _enter(self, state: StreamState) -> None:
        """The one place that changes the state. What is closed stays closed."""
        if self._state is not _CLOSED:
            self._state = state

    def _schedule(self) -> None:
        """Queue at the engine, now or when the rate allows it. ModelError, Stopping: the engine does not take it."""
        if (wait := self._rate.wait()) > 0:
            self._timer = hub.call_later(wait, self._go_on)
            self._enter(_THROTTLED)
        else:
            self._streams.engine.submit(self, self.model)
            self._enter(_QUEUED)

    def _go_on(self) -> None:
        """Queue again if a frame waits; one that the model cannot take is answered with its error."""
        self._enter(_IDLE)
        if self._waiting is None or self._state is _CLOSED:
            self._room.give_back()
            return
        try:
            self._schedule()
        except (ModelError, Stopping) as error:
            frame, self._waiting = self._waiting, None
            self.refuse("model")
            self._answer(frame, {}, str(error))


class Streams:
    """All streams of the server, and single requests beside them."""

    def __init__(self, engine: Engine, limits: Limits, names: Names | None = None) -> None:
        self.engine, self.max_frame_bytes = engine, limits.max_frame_bytes
        self.names = names or Names()
        self.open_streams: dict[str, Stream] = {}
        self.stopping = False
        self._watchers: list[StreamSubscriber] = []

    def open(
        self,
        stream_id: str,
        user: str,
        camera: str = "",
        address: str = "",
        *,
        protocol: str,
        model: str,
        hz: float,
        rotate: int,
        subscriber: StreamSubscriber,
        account: Account | None = None,
    ) -> Stream:
        """Begin a stream.

        Args:
            stream_id: Unique in the server: the connection's id.
            user: Who sends the frames; the connection's id until somebody has authenticated.
            camera: What its client calls the camera, "" for nothing: people then see its user.
            address: Where it comes from.
            protocol: The metrics' label.
            model: The name of the model that runs on its frames.
            hz: Most frames a second that are processed, 0 for no cap.
            rotate: Clockwise degrees that make the frames upright.
            subscriber: Who is told what becomes of the frames.
            account: To which frames that wait are charged.
        """
        stream = self.open_streams[stream_id] = Stream(
            self,
            stream_id,
            user,
            camera,
            address,
            protocol=protocol,
            model=model,
            hz=hz,
            rotate=rotate,
            subscriber=subscriber,
            account=account or unlimited(),
        )
        for watcher in self._watchers:
            watcher.opened(stream)
        return stream

    def adopt(self, stream: Stream, user: str, camera: str) -> None:
        """Let a stream be somebody's, with what its client calls the camera."""
        if (user, camera) != (stream.user, stream.called.said):
            self.names.release(stream.id)
            stream.user = user
            name = self.names.take(stream.id, camera, user=user, address=stream.address, connection=stream.id)
            stream.called = name
            self.names.changed([stream.id])

    def forget(self, stream: Stream) -> None:
        """Called by the stream when it closes."""
        self.open_streams.pop(stream.id, None)
        self.names.release(stream.id)
        for watcher in self._watchers:
            watcher.closed(stream)

    def watch(self, subscriber: StreamSubscriber) -> None:
        """Tell `subscriber` of every stream, and of what becomes of its frames."""
        self._watchers.append(subscriber)

    def publish(self, stream: Stream, frame: Frame, prediction: Prediction, error: str) -> None:
        """Called by a stream for each frame that was answered, or rejected with an error."""
        for subscriber in (stream.subscriber, *self._watchers):
            if error:
                subscriber.rejected(stream, frame, error)
            else:
                subscriber.predicted(stream, frame, prediction)

    def ask(
        self,
        model: str,
        data: Picture,
        *,
        protocol: str,
        content: str = wire.CONTENT_IMAGE,
        rotate: int = 0,
        account: Account | None = None,
        deadline: float = 30.0,
    ) -> wire.Result:
        """One picture, one answer; waits green. Raises what `Engine.ask` does, and LimitExceeded for too many bytes.

        The picture is not charged to `account`, which says whose it is: whoever received it has done so.
        """
        metrics.FRAMES_RECEIVED.inc(protocol)
        metrics.RECEIVED_BYTES.child(protocol).value += len(data)
        begun, owner = time.monotonic(), "" if account is None else account.owner
        if len(data) > self.max_frame_bytes:
            metrics.FRAMES_REFUSED.inc(protocol, "too large")
            raise too_large("the picture", len(data), self.max_frame_bytes, owner)
        try:
            result = self.engine.ask(model, data, content=content, rotate=rotate, owner=owner, deadline=deadline)
        except (ModelError, LimitExceeded, Stopping) as error:
            metrics.FRAMES_REFUSED.inc(protocol, type(error).__name__)
            raise
        if "error" in result:
            metrics.FRAMES_REFUSED.inc(protocol, result["reason"])
        else:
            metrics.FRAMES_PROCESSED.inc(protocol)
            metrics.PREDICTION_AGE.observe(time.monotonic() - begun, protocol)
        return result

    def stop(self) -> None:
        """Take no more frames; what runs is still answered."""
        self.stopping = True
        for watcher in self._watchers:
            watcher.ending()
