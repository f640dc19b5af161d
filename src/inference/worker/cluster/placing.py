"""Whether a replica fits on any node of the cluster, in a sentence where it does not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imageserver.inference.shared.elsewhere.cluster import Placement

NO_NODES = "no node of the cluster is there"


@dataclass(frozen=True)
class NodeResources:
    """All that a node has, whatever is in use: processors, graphics cards, bytes of memory."""

    cpus: float
    gpus: float
    memory: float

    def fits(self, placement: Placement) -> bool:
        """Whether one replica could run there, were it alone."""
        return self.cpus >= placement.cpus and self.gpus >= placement.gpus and self.memory >= placement.memory


def trouble(placement: Placement, nodes: Sequence[NodeResources]) -> str:
    """Why no replica can be placed, as a sentence goes on behind the model's name; "" where one can."""
    if not nodes:
        return NO_NODES
    if any(node.fits(placement) for node in nodes):
        return ""
    largest = max(nodes, key=lambda node: (node.gpus >= placement.gpus, node.gpus, node.cpus, node.memory))
    has = Placement(cpus=largest.cpus, gpus=largest.gpus, memory=int(largest.memory)).needs()
    return f"it needs {placement.needs()} on one node, and the largest of the cluster has {has} ([cluster] says so)"
