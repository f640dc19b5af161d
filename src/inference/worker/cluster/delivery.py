"""A node made ready for a model: the same versions there, the files that it lacks, a worker that has loaded them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from imageserver.errors import ModelError
from imageserver.inference.shared import wire
from imageserver.inference.worker.cluster import node
from imageserver.inference.worker.cluster.bundle import Bundle
from imageserver.inference.worker.cluster.connection import NodeHandle
from imageserver.inference.worker.cluster.node import LoadOrder

STEP_SECONDS = 60.0
"""For a piece of a file, or a question about what is there."""


def check(about: Mapping[str, str]) -> None:
    """ModelError: what a node says of itself is not what is here."""
    for package, ours in node.versions().items():
        if about.get(package) != ours:
            raise ModelError(
                f"a node of the cluster has {package} {about.get(package)}, this server {ours}: install the same there"
            )


def send(handle: NodeHandle, bundle: Bundle, most: int) -> None:
    """Send the files that the node lacks, which keeps `most` bytes. EndpointFailed, Unreachable, ModelError."""
    lacking = set(handle.ask("lacking", bundle.listing(), most, seconds=STEP_SECONDS))
    for file in bundle.files:
        if file.sha256 not in lacking:
            continue
        lacking.remove(file.sha256)
        try:
            for data, last in file.pieces():
                handle.ask("receive", file.sha256, data, last, seconds=STEP_SECONDS)
        except OSError as error:
            raise ModelError(f"a file of the model cannot be read: {error.strerror}") from error


def load(handle: NodeHandle, bundle: Bundle, order: LoadOrder) -> wire.Message:
    """Have the node load it; what its worker says then. EndpointFailed, Unreachable; ModelError: it does not load."""
    said = handle.ask("load", bundle.listing(), asdict(order), seconds=order.seconds + STEP_SECONDS)
    if said["op"] != "loaded":
        raise ModelError(str(said["error"])[:1000])
    channels, least = said["decoded_as"]
    return {
        "runtime": str(said["runtime"])[:200],
        "warnings": [str(warning)[:500] for warning in said["warnings"]],
        "decoded_as": [int(channels), int(least)],
    }
