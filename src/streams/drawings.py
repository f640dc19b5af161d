"""Newest frames with what was found drawn into them, for viewers who cannot draw themselves: each drawn once.

Streams wait for the process that draws, not frames: at its turn a stream's newest one is drawn. So those who look at
one stream share what is drawn of it, nothing is kept for those who wait, and what they get is as new as can be.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from imageserver.errors import ImageServerError, LimitExceeded, PictureError
from imageserver.inference.server.costly.drawing import DrawingProcess
from imageserver.limits import hit
from imageserver.streams.frame import NewestFrame
from imageserver.streams.overview import Viewed
from imageserver.transport import hub

MOST_KEPT = 32
"""Streams of which what was drawn last is kept for whoever asks for the same frame."""
LARGEST_KEPT = 2**20
"""Bytes of one of these."""


@dataclass(slots=True, eq=False)
class Drawing:
    """A stream that waits for its turn; then which frame of it is drawn, and what came of it."""

    stream: Viewed
    owner: str
    newest: NewestFrame | None = None
    jpeg: bytes = b""
    error: ImageServerError | None = None
    finished: hub.Event = field(default_factory=hub.Event)


class Drawings:
    """What is drawn for viewers. One at a time; nobody waits for what has been drawn already.

    Args:
        process: Draws.
        most: Streams that may wait (`draw_queue`); for one user or address a quarter.
    """

    def __init__(self, process: DrawingProcess, most: int) -> None:
        self._process, self._most = process, most
        self._waiting: OrderedDict[str, Drawing] = OrderedDict()  # by the stream's id, as all of these
        self._kept: OrderedDict[str, Drawing] = OrderedDict()
        self._running: Drawing | None = None

    def drawn(self, stream: Viewed, owner: str) -> tuple[NewestFrame, bytes] | None:
        """The stream's newest frame, at this moment or a little later, and a JPEG of it, drawn; waits green.

        Args:
            stream: Which.
            owner: Who asks, as accounts of memory name their owners.

        Returns:
            None when the stream has no frame, or none any more.

        Raises:
            LimitExceeded: Too many wait.
            PictureError: It cannot be decoded.
            ModelUnavailable, Stopping: It cannot be drawn now.
        """
        if stream.newest is None:
            return None
        drawing = self._found(stream) or self._queue(stream, owner)
        drawing.finished.wait()
        if drawing.error is not None:
            raise drawing.error
        return None if drawing.newest is None else (drawing.newest, drawing.jpeg)

    def stop(self) -> None:
        """Draw no more."""
        self._process.stop()

    # ---- within -----------------------------------------------------------------------------------------------

    def _found(self, stream: Viewed) -> Drawing | None:
        """The drawing of the stream's newest frame: one that is there, is being made, or waits."""
        for drawing in (self._kept.get(stream.id), self._running):
            if drawing is not None and drawing.newest is stream.newest:
                return drawing
        return self._waiting.get(stream.id)

    def _queue(self, stream: Viewed, owner: str) -> Drawing:
        own = sum(drawing.owner == owner for drawing in self._waiting.values())
        if len(self._waiting) >= self._most or own >= max(1, self._most // 4):
            hit("draw_queue", owner)
            raise LimitExceeded("too many pictures wait to be drawn; try again in a moment, or draw the boxes yourself")
        drawing = self._waiting[stream.id] = Drawing(stream, owner)
        if self._running is None:
            self._running = drawing  # until the task has its turn
            hub.spawn(self._run)
        return drawing

    def _run(self) -> None:
        """Draw until nobody waits."""
        try:
            while self._waiting:
                _id, self._running = self._waiting.popitem(last=False)
                try:
                    self._draw(self._running)
                finally:
                    self._running.finished.set()
        finally:
            self._running = None

    def _draw(self, drawing: Drawing) -> None:
        newest = drawing.newest = drawing.stream.newest
        if newest is None:
            return
        try:
            drawing.jpeg = self._process.draw(newest.frame.data, newest.rotate, newest.prediction)
        except ImageServerError as error:
            drawing.error = error
        except (LookupError, TypeError, ValueError):
            drawing.error = PictureError("what was found in the picture cannot be drawn")
        else:
            self._keep(drawing)

    def _keep(self, drawing: Drawing) -> None:
        """Keep it for whoever asks for the same frame, as long as that is the stream's newest."""
        self._kept.pop(drawing.stream.id, None)
        if len(drawing.jpeg) <= LARGEST_KEPT and drawing.newest is drawing.stream.newest:
            self._kept[drawing.stream.id] = drawing
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
