"""The bounds of what models on the cluster may cost; the server's table of limits has the same as `cluster_…`."""

from __future__ import annotations

from dataclasses import dataclass

from imageserver.inference.shared import wire

PER_REPLICA = wire.SLOTS
"""Batches that a replica has at most: one runs, and the next is there when it has ended."""


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
