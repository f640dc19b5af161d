"""A frame of a stream, and the newest one as it is kept for whoever looks at the stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from imageserver.inference.shared import image_header
from imageserver.inference.shared.wire import Picture
from imageserver.transport.budget import SMALL, Account

T = TypeVar("T")

Prediction = dict[str, Any]
"""What goes out for a frame. `model`, what it found (`label`, `score`, `labels`, `boxes`, `size`, …), `timestamp`
(ms since the epoch), `age_ms` (receipt to answer), `seq` (1-based among all frames received on the stream), `dropped`
(frames replaced by newer ones or lost with a worker, so far), and `camera` where the stream has a name of one."""


@dataclass(slots=True)
class Frame:
    """One frame of a stream while it waits and runs."""

    data: Picture
    seq: int
    timestamp: int
    """Milliseconds since the epoch: the client's, or the time of receipt."""
    received: float
    """Monotonic seconds."""
    model: str = ""
    """The model that it went to."""
    lost: bool = False  # its worker died, and it has one more try


@dataclass(slots=True, eq=False)
class NewestFrame:
    """A frame that was answered, with its answer: what viewers of its stream are shown. It never changes."""

    frame: Frame
    prediction: Prediction
    """{} where it was rejected."""
    error: str
    """One sentence where it was rejected, else ""."""
    rotate: int
    """Clockwise degrees that make the picture upright, as `size` and boxes of the prediction have it, beside what the
    picture's own header says of that."""
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """`image/jpeg` or whatever it begins like; "" where it is no picture."""
        kind = image_header.kind_of(self.frame.data)
        return f"image/{kind}" if kind else ""

    def once(self, what: str, make: Callable[[NewestFrame], T]) -> T:
        """What `make` makes of this frame, made once for all who ask for it under the name `what`.

        It is kept as long as the frame is, and not charged to anybody: it must be small beside the picture, to whose
        bytes it may refer.
        """
        if what not in self._made:
            self._made[what] = make(self)
        return cast(T, self._made[what])


class Shown:
    """What viewers are shown of a source of frames, kept where its client has room to spare; small ones need none.

    A camera never lacks the room: what is kept here gives way.
    """

    def __init__(self, account: Account) -> None:
        self.newest: NewestFrame | None = None
        """The newest frame that was answered or rejected; None before there is one, or where there is no room."""
        self._spare = account.spare("newest", self.show_none)

    def show(self, newest: NewestFrame) -> None:
        """This is the newest one now."""
        size = len(newest.frame.data)
        kept = self._spare.set(size if size > SMALL else 0)
        self.newest = newest if kept else None

    def show_none(self) -> None:
        """Keep nothing."""
        self._spare.set(0)
        self.newest = None
