"""What an actor does on its node: takes the files of a model, has a worker process load it, and hands it batches.

Nothing of Ray is imported here. What is asked is one of `ASKED`; a trouble that a person can mend is the answer
{"error": sentence}, and one of this node alone, such as a full disk, {"fault": sentence}.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import imageserver
from imageserver.errors import EndpointFailed, ImageServerError
from imageserver.inference.shared import conversion_cache, wire
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared.manifest import Permissions
from imageserver.inference.worker.cluster.bundle import CONVERTED, MODELS
from imageserver.inference.worker.cluster.child import ChildWorker
from imageserver.inference.worker.cluster.store import Listing, NodeStore
from imageserver.jail.rules import GIB, Jail

ASKED = ("about", "lacking", "receive", "load", "run", "watch")
SAME = ("imageserver", "openvino")
"""What has to be of the same version on nodes as on the server's machine."""


@dataclass(frozen=True)
class LoadOrder:
    """What a node is told of the model that it is to load.

    Args:
        model: its name.
        bundle: the digest of its files.
        arguments: for the worker's command line.
        jail: whether the worker is held in one.
        memory: bytes that it may have of its own; 0 is no limit.
        seconds: that loading may take.
    """

    model: str
    bundle: str
    arguments: tuple[str, ...]
    jail: bool
    memory: int
    seconds: float


class NodeWorker:
    """One model's replica."""

    def __init__(self) -> None:
        self._store: NodeStore | None = None
        self._child: ChildWorker | None = None
        self._model = ""

    def ask(self, what: str, *values: Any) -> Any:
        """The answer of one of the methods below."""
        if what not in ASKED:
            return {"error": f"the node knows no {what!r}: install the server's version of ImageServer there"}
        try:
            return getattr(self, what)(*values)
        except EndpointFailed as error:
            return {"fault": str(error)}
        except ImageServerError as error:
            return {"error": str(error)}
        except OSError as error:  # its disk is full or gone, or others took away what it had: the model is as it was
            return {"fault": f"the node cannot keep the model: {error.strerror or type(error).__name__}"}

    def about(self) -> dict[str, str]:
        """Where this is, and which versions are here."""
        return {"host": socket.gethostname(), "python": platform.python_version(), **versions()}

    def lacking(self, listing: Listing, most: int) -> list[str]:
        """The digests of files that are not on this node, which keeps at most so many bytes."""
        self._store = NodeStore(conversion_cache.cache_folder() / "cluster", most)
        return self._store.lacking(listing)

    def receive(self, digest: str, data: bytes, last: bool) -> None:
        """The next piece of a file."""
        assert self._store is not None
        self._store.receive(digest, data, last)

    def load(self, listing: Listing, fields: dict[str, Any]) -> wire.Message:
        """What the worker says, `loaded` or `failed`; `fields` are those of a LoadOrder."""
        assert self._store is not None
        order = LoadOrder(**fields)
        folder = self._store.open(order.bundle, listing)
        model = folder / MODELS / order.model
        jail = _jail(manifests.read(model).permissions or Permissions(), folder, order)
        arguments = [*order.arguments, "--models-cache", str(folder / CONVERTED)]
        self._child, self._model = ChildWorker(arguments, jail), order.model
        return self._child.load(order.model, model, order.seconds)

    def run(self, data: bytes, items: Sequence[wire.Item], seconds: float) -> bytes:
        """The answer to a batch (answers.py)."""
        assert self._child is not None
        return self._child.run(self._model, data, items, seconds)

    def watch(self) -> str:
        """How the worker process ended, once it has."""
        assert self._child is not None
        return self._child.ended.result()


def versions() -> dict[str, str]:
    """Those of `SAME`; "-" where it is not installed."""
    found = {"imageserver": imageserver.__version__}
    for package in SAME[1:]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    return found


def _jail(wishes: Permissions, folder: Path, order: LoadOrder) -> Jail:
    """As on the server's machine (server/jails/rights.py), but that it reads its own model alone."""
    memory = int(wishes.memory_gib * GIB) if wishes.memory_gib and order.memory else order.memory
    return Jail(
        enforced=order.jail,
        read=(os.path.realpath(folder), *wishes.read),
        memory=memory,
        network=wishes.network,
        processes=wishes.processes,
    )
