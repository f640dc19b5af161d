"""Figures of single cameras for the page of figures: of those that have a name, as far as who asks may see them.

They are read from what is open when somebody asks, so a frame costs nothing for them, and nothing is left of who goes.
"""

from __future__ import annotations

from imageserver import limits, metrics
from imageserver.accounts.database import User
from imageserver.metrics import Metric
from imageserver.streams.names import NameState
from imageserver.streams.overview import Overview
from imageserver.web import sight

Numbers = dict[tuple[str, ...], float]
"""By the values of a metric's labels."""


class CameraFigures:
    """Those of at most `most` cameras, of each its stream and its sessions: clients say whatever names they like."""

    def __init__(self, overview: Overview, most: int) -> None:
        self._overview, self._most = overview, most

    def read(self, user: User | None) -> dict[Metric, Numbers]:
        """The figures that `user` may see; None, who need not log in, may see all. The loop has its turns meanwhile."""
        found: dict[Metric, Numbers] = {metric: {} for metric in FIGURES}
        cameras: set[str] = set()
        for one in self._overview.incoming():
            if not one.camera or one.called.state is not NameState.HELD or not sight.sees(user, one):
                continue
            if one.camera not in cameras and len(cameras) == self._most:
                limits.hit("camera_figures")
                break
            cameras.add(one.camera)
            labels = (one.camera, one.protocol)
            for metric, number in zip(FIGURES, (one.received, one.answered_count, one.dropped), strict=True):
                found[metric][labels] = found[metric].get(labels, 0) + number
        return found


FIGURES = (metrics.CAMERA_RECEIVED, metrics.CAMERA_ANSWERED, metrics.CAMERA_DROPPED)
