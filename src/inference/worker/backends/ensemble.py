"""Several classifiers as one model: each sees the whole batch, and their scores are averaged.

The manifest names them in `[ensemble] members`. Each does its own preprocessing, so one that replaces another may take
another size; all have the same labels, in any order. They run side by side where there are threads for it.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker import results
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.decode import Picture
from imageserver.inference.worker.predictor import Network, Serving
from imageserver.inference.worker.preprocessing import base
from imageserver.inference.worker.results import Scores


class Ensemble(Serving):
    """`members` are loaded and warm; at least one. Scores are taken as probabilities and weigh the same."""

    def __init__(self, manifest: Manifest, members: list[Network], context: LoadContext) -> None:
        super().__init__(manifest, context)
        self.members = members
        runtimes = sorted({member.runtime for member in members})
        self.runtime = f"{len(members)} of {len(manifest.members)} members, {', '.join(runtimes)}"
        # A picture is decoded once for all, so as large and with as many channels as any of them needs.
        inputs = [member.manifest.input for member in members]
        self._channels = max(wanted.channels for wanted in inputs)
        self._least = max(max(base.find(wanted.preprocessing).least, wanted.width, wanted.height) for wanted in inputs)

    def warm(self, sizes: list[int] | None = None) -> None:
        """Nothing: the members are warm."""

    def scores(self, decoded: list[Picture]) -> Scores:
        """The mean of the members' scores, in the order of the ensemble's labels.

        A picture is unlike those of the training where half of the members say so, of those that look at that.
        """
        side_by_side = self.context.pool.map if self.context.pool is not None else map
        found = list(side_by_side(lambda member: self._scores(member, decoded), self.members))
        votes = [each.unlike for each in found if each.unlike is not None]
        unlike = np.mean(votes, axis=0) >= 0.5 if votes else None
        return Scores(np.mean([each.values for each in found], axis=0), unlike)

    def _predict(self, decoded: list[Picture]) -> list[wire.Result]:
        return results.classify(self.scores(decoded), self.manifest.output)

    def _scores(self, member: Network, decoded: list[Picture]) -> Scores:
        """What a member says, in the order of the ensemble's labels."""
        most = member.manifest.batch.max_batch
        decoded = [_in_channels(picture, member.manifest.input.channels) for picture in decoded]
        values, votes = [], []
        for first in range(0, len(decoded), most):
            part = member.scores(decoded[first : first + most])
            values.append(np.array(part.values))  # valid until the next batch
            votes += [part.unlike] if part.unlike is not None else []
        scores = results.columns(np.concatenate(values), member.manifest.output)
        theirs = member.manifest.output.labels
        return Scores(
            scores[:, [theirs.index(label) for label in self.manifest.output.labels]],
            np.concatenate(votes) if votes else None,
        )


def _in_channels(picture: Picture, channels: int) -> Picture:
    """The same picture grey or in colour, as a member's preprocessing expects it."""
    colour = picture.pixels.ndim == 3
    if colour == (channels == 3):
        return picture
    return replace(picture, pixels=cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY if colour else cv2.COLOR_GRAY2RGB))
