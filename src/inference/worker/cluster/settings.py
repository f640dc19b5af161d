"""The bounds of what models on the cluster may cost; the server's table of limits has the same as `cluster_…`."""

from __future__ import annotations

from dataclasses import dataclass

from imageserver.inference.shared import wire

PER_REPLICA = wire.SLOTS
"""Batches that a replica has at most: one runs, and the next is there when it has ended."""
NO_ROOM = "no worker of the cluster was free in time"
LEAST_WAIT = 0.05
"""Part of its time that a batch may wait in any case: the server knows only a moment later that there is no room."""


@dataclass(frozen=True)
class ClusterSettings:
    """Args:
    seconds: for a batch, its way included.
    wait: seconds that a picture may wait before there should be one replica more.
    idle: seconds of little to do before there is one replica less.
    cache: bytes of models' files that a node keeps.
    load_seconds: for a replica to load the model.
    """

    seconds: float = 12.0
    wait: float = 0.2
    idle: float = 60.0
    cache: int = 20 * 2**30
    load_seconds: float = 300.0


def patience(seconds: float, usual: float) -> float:
    """Seconds that a batch may wait until it begins, of those that it has.

    Half of them, and fewer where less than twice what one takes (`usual`) would be left: one that begins with too
    little time is killed, and its worker with it.
    """
    return max(seconds * LEAST_WAIT, min(seconds / 2, seconds - 2 * usual))
