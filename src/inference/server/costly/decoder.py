"""The process that decodes costly pictures, one at a time, and what becomes of each.

It is started with the first of them and ended when none has come for a minute. A picture that ends it, or takes too
long, is answered with an error and put off (put_off.py): no model and no other picture is lost with it. Where somebody
else killed it, the picture has one more try.
"""

from __future__ import annotations

from collections.abc import Callable

from imageserver import metrics
from imageserver.inference.server.batching import Work
from imageserver.inference.server.costly.process import PictureProcess, PictureProcesses
from imageserver.inference.server.costly.put_off import PutOff
from imageserver.inference.server.costly.queue import CostlyPicture, CostlyQueue
from imageserver.inference.shared import wire
from imageserver.jail.rules import Jail
from imageserver.limits import Limits, hit, note
from imageserver.transport import hub

KEEP_IDLE = 60.0
"""Seconds that the process is kept for the next picture."""


class CostlyPictures:
    """Construct, spawn `run`, then `add`; `stop` ends the process.

    Args:
        arguments: for the process's command line, as a worker's.
        limits: those of pictures.
        jail: the process's.
        decoded: called with each picture that was decoded, what now is to be run, and what it cost in bytes.
        warn: takes a sentence for the log.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        arguments: list[str],
        limits: Limits,
        jail: Jail,
        *,
        decoded: Callable[[CostlyPicture, Work, int], None],
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._processes = PictureProcesses(
            "costly pictures", "inference.worker.costly", arguments, limits, jail,
            title="the process for costly pictures", warn=warn,
        )  # fmt: skip
        self._most = limits.costly_queue
        self._queue = CostlyQueue(limits.costly_queue)
        self._decoded, self._warn, self._clock = decoded, warn, clock
        self.put_off = PutOff(limits.put_off_time)
        self._wake = hub.Event()
        self._stopping = False

    def add(self, picture: CostlyPicture) -> None:
        """Queue a picture; one that is put off, or for which there is no room, is answered at once."""
        now, work = self._clock(), picture.work
        if left := self.put_off.picture(work.data, now):
            refuse(picture, f"decoding this picture failed a moment ago; it is tried again in {left:.0f} s")
        elif left := self.put_off.owner(work.owner, now):
            refuse(picture, f"{_such(work)} are taken from you again in {left:.0f} s; send it smaller")
        elif self._queue.add(picture):
            self._wake.set()
        else:
            hit("costly_queue", work.owner)
            refuse(picture, f"{self._most} {_such(work)} wait to be decoded; send one after the other")

    def run(self) -> None:
        """For ever; spawn it."""
        while not self._stopping:
            if not self._wake.wait(KEEP_IDLE):
                self._processes.end()
            self._wake.clear()
            while (picture := self._queue.pop()) is not None:
                self._decode(picture)

    def stop(self) -> None:
        """Decode no more, and end the process."""
        self._stopping = True
        for picture in self._queue.drain():
            picture.source.answered(picture.work, {"error": "the server is stopping", "reason": "model"})
        self._processes.end()

    # ---- within -----------------------------------------------------------------------------------------------

    def _decode(self, picture: CostlyPicture) -> None:
        try:
            process, answer = self._ask(picture)
            if answer is None and process.was_killed and not self._stopping:
                process, answer = self._ask(picture)
        except OSError:
            refuse(picture, f"{_such(picture.work)} cannot be decoded now; try again later, or send it smaller")
            return
        if answer is None:
            self._blame(picture, process)
        elif "error" in answer:
            metrics.COSTLY_PICTURES.inc("refused")
            if answer["limit"]:
                hit(answer["limit"], picture.work.owner)
            picture.source.answered(picture.work, {"error": answer["error"], "reason": answer["reason"]})
        else:
            metrics.COSTLY_PICTURES.inc("decoded")
            work = picture.work
            pixels = process.result(answer["size"])
            pixels_work = Work(pixels, answer["form"], ticket=work.ticket, owner=work.owner, original=work.data)
            self._decoded(picture, pixels_work, answer["cost"])

    def _ask(self, picture: CostlyPicture) -> tuple[PictureProcess, wire.Message | None]:
        """The answer of the process, and that process; None when it ended."""
        work = picture.work
        about = {"form": work.content, "rotate": work.rotate, "channels": picture.channels, "least": picture.least}
        return self._processes.ask("decode", work.data, about)

    def _blame(self, picture: CostlyPicture, process: PictureProcess) -> None:
        """The process ended under this picture."""
        if self._stopping:
            return
        metrics.COSTLY_PICTURES.inc("ended")
        end = process.process.exit_text
        sender = picture.work.owner or "nobody in particular"
        sentence = f"decoding a picture of {sender} ended its process by {end}; the picture is put off"
        self._warn(note(sentence, "decode_time" if "SIGXCPU" in end else "", picture.work.owner))
        if process.reads:
            self.put_off.blame(picture.work.owner, picture.work.data, self._clock())
        error = "the picture takes too long to decode, or is damaged: send it smaller"
        picture.source.answered(picture.work, {"error": error, "reason": "picture"})


def _such(work: Work) -> str:
    what = "requests" if work.content.startswith(wire.CONTENT_INFERENCE) else "pictures"
    return f"{what} as large as this"


def refuse(picture: CostlyPicture, sentence: str) -> None:
    """Answer it without decoding it."""
    metrics.COSTLY_PICTURES.inc("put off")
    picture.source.answered(picture.work, {"error": sentence, "reason": "busy"})
