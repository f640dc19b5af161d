"""Whose pictures are looked at more closely: a worker ended or hung while it ran them, or they are many and large.

A batch that ended a worker is taken apart: each of its sources is a *suspect*, and what it sends next is decoded in
the process of the costly pictures and then runs alone. A picture that is answered so clears its source. One under
which the worker ends again is found: it is put off, and after the second such its sender at that model. For a
minute all that its sender has there runs alone.

And who has so much decoded that others feel it (load.py) has all that is larger than a phone's frame decoded apart.
Of everybody inference requests of much JSON are read apart, and come back with a binary tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from imageserver.errors import PictureError
from imageserver.inference.server.batching import QueuedSource, Source, Work
from imageserver.inference.server.costly.decoder import CostlyPictures
from imageserver.inference.server.costly.load import DecodingLoad
from imageserver.inference.server.costly.put_off import PutOff
from imageserver.inference.server.costly.queue import CostlyPicture
from imageserver.inference.server.model import SharedModel
from imageserver.inference.server.worker import RunningBatch
from imageserver.inference.shared import image_header, wire
from imageserver.jail.rules import Jail
from imageserver.limits import Limits

MOST = 1000
"""Sources that are remembered; the oldest are forgotten for newer ones."""
SMALL_BODY = 64 * 2**10
"""Bytes of a picture or request that is not looked into here, and passes for an ordinary one."""
START = 4096
"""Bytes of a picture that are looked at for its size."""
REDUCED = 16
"""A JPEG is decoded at a quarter of its sides or less where that is much."""


class Isolation:
    """`active` is False nearly always: nobody is looked at more closely.

    Args:
        models: the catalogue's own dictionary.
        arguments: for the command line of the process that decodes.
        limits: those of pictures.
        jail: that of the same process.
        wake: called when a picture waits at its model that did not before.
        warn: takes a sentence for the log.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        models: Mapping[str, SharedModel],
        arguments: list[str],
        limits: Limits,
        jail: Jail,
        *,
        wake: Callable[[], None],
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self.costly = CostlyPictures(arguments, limits, jail, decoded=self._decoded, warn=warn, clock=clock)
        self.active = False
        self._models, self._wake, self._clock = models, wake, clock
        self._costly_bytes = limits.costly_bytes
        self._put_off = PutOff(limits.put_off_time)
        self._load = DecodingLoad()
        self._suspects: dict[Source, None] = {}

    def set_aside(
        self, batch: RunningBatch, aside: dict[int, int], results: list[wire.Result]
    ) -> tuple[list[tuple[Source, Work]], list[wire.Result]]:
        """Take out what a worker did not decode: too costly for the rest of its batch, or for any.

        Args:
            batch: what ran.
            aside: the cost of each such picture in bytes, by its index.
            results: what was answered.

        Returns:
            The works and results that stay.
        """
        model = self._models.get(batch.model)
        for index, cost in aside.items():
            source, work = batch.works[index]
            if model is None:
                source.answered(work, {"error": f"the model {batch.model!r} was removed", "reason": "model"})
            elif cost <= self._costly_bytes:
                model.waiting.add_taken(source, work, self._clock())
            else:
                self.costly.add(CostlyPicture(source, work, model.name, *model.decoded_as))
        stay = [index for index in range(len(results)) if index not in aside]
        return [batch.works[index] for index in stay], [results[index] for index in stay]

    def ended(self, batch: RunningBatch) -> Work | None:
        """A worker ended while it ran this; returns the picture that it ended of, where that is known."""
        self.active = True
        if batch.alone and batch.works:
            source, work = batch.works.pop()
            self._put_off.blame(_at(batch.model, work.owner), work.original or work.data, self._clock())
            error = f"the worker process ended while {batch.model!r} ran on this picture"
            source.answered(work, {"error": error, "reason": "model"})
            return work
        self._suspects.update(dict.fromkeys(source for source, _work in batch.works))
        while len(self._suspects) > MOST:
            del self._suspects[next(iter(self._suspects))]
        return None

    def charge(self, batch: RunningBatch, costs: Iterable[tuple[int, int]]) -> None:
        """What decoding took, in bytes, by the index in the batch."""
        for index, cost in costs:
            self._charge(batch.works[index][1].owner, cost)

    def clear(self, works: Iterable[tuple[Source, Work]]) -> None:
        """These were answered."""
        for source, _work in works:
            self._suspects.pop(source, None)

    def refresh(self) -> None:
        """Forget what is over; to be called now and then."""
        if self.active:
            self._put_off.prune(self._clock())
            for source in [source for source in self._suspects if not source.wanted]:
                del self._suspects[source]
            trouble = bool(self._suspects) or not self._put_off.empty
            self.active = trouble or self._load.any_heavy(self._clock())

    def admits(self, model: SharedModel, turn: QueuedSource, work: Work) -> bool:
        """Whether the picture may run now, if need be alone; one that may not is answered or decoded apart first."""
        if self.active and not self._trusts(model, turn, work):
            return False
        size = len(work.data)
        if size < wire.COSTLY_JSON or wire.json_size(work.content, size) < wire.COSTLY_JSON:
            return True
        self.costly.add(CostlyPicture(turn.source, work, model.name, *model.decoded_as))
        return False

    def _trusts(self, model: SharedModel, turn: QueuedSource, work: Work) -> bool:
        now = self._clock()
        left = self._put_off.picture(work.original or work.data, now)
        if left:
            return _refuse(turn, work, f"the worker ended with this picture; it is tried again in {left:.0f} s")
        owner = _at(model.name, work.owner)
        if left := self._put_off.owner(owner, now):
            sentence = f"the model {model.name!r} ended with several of your pictures; it takes more in {left:.0f} s"
            return _refuse(turn, work, sentence)
        suspect = turn.source in self._suspects or self._put_off.blamed(owner, now)
        heavy = self._load.heavy(work.owner, now)
        if heavy and work.content.startswith(wire.CONTENT_INFERENCE) and len(work.data) >= wire.NOTABLE_COST:
            return _refuse(turn, work, "requests as large as this take too much of the server: send fewer a second")
        if work.content.startswith((wire.CONTENT_PIXELS, wire.CONTENT_INFERENCE)):
            turn.alone = suspect
            return True
        if not suspect and not (heavy and _notable(work)):
            return True
        self.costly.add(CostlyPicture(turn.source, work, model.name, *model.decoded_as))
        return False

    def _charge(self, owner: str, cost: int) -> None:
        now = self._clock()
        self._load.charge(owner, cost, now)
        self.active |= self._load.heavy(owner, now)

    def _decoded(self, picture: CostlyPicture, work: Work, cost: int) -> None:
        """A costly picture has become pixels: they run as the next."""
        self._charge(work.owner, cost)
        model = self._models.get(picture.model)
        if model is None or model.unusable:
            error = model.trouble if model else f"the model {picture.model!r} was removed"
            picture.source.answered(work, {"error": error, "reason": "model"})
            return
        model.waiting.add_taken(picture.source, work, self._clock(), first=True)
        self._wake()


def _at(model: str, owner: str) -> str:
    return f"{owner} at {model}" if owner else ""


def _notable(work: Work) -> bool:
    """Whether decoding it may cost a worker more than an ordinary frame does."""
    if work.content != wire.CONTENT_IMAGE:
        return len(work.data) > SMALL_BODY
    try:
        header = image_header.read(memoryview(work.data)[:START])  # no more of it: this holds up the loop
    except PictureError:
        return len(work.data) > SMALL_BODY
    reduced = REDUCED if header.kind == "jpeg" and not header.many_scans else 1
    return header.decoded_bytes >= wire.NOTABLE_COST * reduced


def _refuse(turn: QueuedSource, work: Work, sentence: str) -> bool:
    turn.source.answered(work, {"error": sentence, "reason": "busy"})
    return False
