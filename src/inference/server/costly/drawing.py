"""The process that draws for viewers what models found: started with the first picture, ended when none has come.

Like the process for costly pictures it may end of a picture; that one is put off then, and who asked is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imageserver.errors import ModelUnavailable, PictureError, Stopping
from imageserver.inference.server.costly.decoder import KEEP_IDLE
from imageserver.inference.server.costly.process import PictureProcesses
from imageserver.inference.server.costly.put_off import PutOff
from imageserver.inference.shared import wire
from imageserver.inference.shared.wire import Picture
from imageserver.jail.rules import Jail
from imageserver.limits import Limits
from imageserver.transport import hub

DRAWN = ("model", "label", "score", "boxes")
"""What of a prediction is drawn."""
MOST_BOXES = 500
"""Boxes that go over the wall: nobody could tell more of them apart."""


class DrawingProcess:
    """Draws one picture at a time; `stop` ends it.

    Args:
        arguments: for the process's command line, as a worker's.
        limits: those of pictures.
        jail: the process's.
        warn: takes a sentence for the log.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        arguments: list[str],
        limits: Limits,
        jail: Jail,
        *,
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._processes = PictureProcesses(
            "drawing", "inference.worker.drawer", arguments, limits, jail,
            title="the process that draws for viewers", warn=warn,
        )  # fmt: skip
        self._warn, self._clock = warn, clock
        self._put_off = PutOff(limits.put_off_time)
        self._idle: hub.Timer | None = None
        self._stopping = False

    def draw(self, data: Picture, rotate: int, prediction: dict[str, Any]) -> bytes:
        """A JPEG of the picture, upright, with what was found drawn into it; waits green. Never call it twice at once.

        Raises:
            PictureError: It cannot be decoded, or that was tried a moment ago.
            ModelUnavailable: There is no process for it now.
            Stopping: The server is stopping.
        """
        if left := self._put_off.picture(data, self._clock()):
            raise PictureError(f"drawing into this picture failed a moment ago; it is tried again in {left:.0f} s")
        if self._idle is not None:
            self._idle.cancel()
        found = {key: prediction[key] for key in DRAWN if key in prediction}
        if isinstance(found.get("boxes"), list):
            found["boxes"] = found["boxes"][:MOST_BOXES]
        try:
            return self._ask(data, {"rotate": rotate, "prediction": found})
        finally:
            self._idle = hub.spawn_later(KEEP_IDLE, self._processes.end)

    def stop(self) -> None:
        """Draw no more, and end the process."""
        self._stopping = True
        if self._idle is not None:
            self._idle.cancel()
        self._processes.end()

    # ---- within -----------------------------------------------------------------------------------------------

    def _ask(self, data: Picture, about: wire.Message) -> bytes:
        if self._stopping:
            raise Stopping("the server is stopping")
        try:
            process, answer = self._processes.ask("draw", data, about)
        except OSError:
            raise ModelUnavailable("nothing can be drawn into pictures now; try again later") from None
        if answer is None:
            if self._stopping:
                raise Stopping("the server is stopping")
            self._warn(f"drawing into a picture ended its process by {process.process.exit_text}; it is put off")
            if process.reads and not process.was_killed:
                self._put_off.blame("", data, self._clock())
            raise PictureError("the picture takes too long to decode, or is damaged")
        if "error" in answer:
            raise PictureError(answer["error"])
        return process.result(answer["size"])
