"""The way to a cluster of Ray's, by its client: the only module that imports Ray, in a process of its own.

Ray's client stands on what `ray.init("ray://…")` and the objects that it gives do in Ray 2.5x and later; all that is
used of it is public. The class of an actor goes over by its value, so that a node where ImageServer is not installed
can say so; what it does is `node.py`, as it is installed there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from pathlib import Path
from typing import Any, Protocol

from imageserver.errors import EndpointFailed, ModelError, Unreachable
from imageserver.inference.shared.elsewhere.cluster import LACKING, ClusterAddress, Placement
from imageserver.inference.worker.cluster.placing import NodeResources

WITHOUT = "a node of the cluster has no ImageServer ({}): install imageserver[ray] of this server's version there"
CURRENT = "ray_current_cluster"
"""The file in which `ray start` says where the head is."""
GRACE = 5
"""Seconds for which the cluster keeps the replicas of a client that is gone without a word."""
LOOK_SECONDS = 2.0
"""For the port to be reached."""
AT_ONCE = 8
"""Calls that an actor answers at the same time: batches, the watch, and one about itself."""


class NodeHandle(Protocol):
    """An actor on some node."""

    def ask(self, what: str, *values: Any, seconds: float) -> Any:
        """What node.py answers.

        Raises:
            ModelError: It tells what is wrong with the model, or with what is installed there.
            EndpointFailed: The actor is gone, or late, or its node cannot do it, as another might.
            Unreachable: The cluster is gone.
        """

    def kill(self) -> None:
        """End it. Harmless when it has ended, or the cluster is gone."""


class ClusterConnection(Protocol):
    """A cluster."""

    def nodes(self) -> Sequence[NodeResources]:
        """Those that are alive. Unreachable."""

    def start(self, placement: Placement) -> NodeHandle:
        """An actor, placed as soon as there is room. Unreachable."""

    def close(self) -> None:
        """End all actors, and leave it."""


def connect(address: ClusterAddress) -> ClusterConnection:
    """The cluster at an address. ModelError: Ray is not installed. Unreachable: a sentence."""
    os.environ.setdefault("RAY_CLIENT_RECONNECT_GRACE_PERIOD", str(GRACE))
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # it would look through /proc for what has started this process
    there = _reached(address)
    try:
        import ray
    except ImportError:
        raise ModelError(LACKING) from None
    logging.disable(logging.WARNING)  # nothing else speaks by it here
    try:
        ray.init(there.full, log_to_driver=False)  # what nodes print stays there: nothing bounds it
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        raise Unreachable(f"the cluster cannot be used: {_first_line(error)}") from None
    return _RayCluster(ray)


def _reached(address: ClusterAddress) -> ClusterAddress:
    """The same, where its port takes connections: at once, where Ray would try for half a minute. Unreachable."""
    places = [address]
    if address.auto:  # Ray's clients come in at the head's own address, which every machine of the cluster knows
        with contextlib.suppress(OSError):
            known = _current().read_text("utf-8").strip()
            places.append(ClusterAddress(known.rpartition(":")[0].strip("[]"), address.port))
    failure = ""
    for place in places:
        try:
            socket.create_connection((place.host, place.port), LOOK_SECONDS).close()
            return place
        except OSError as error:
            failure = error.strerror or str(error)
    raise Unreachable(f"the cluster at {places[-1].full} cannot be reached: {failure}")


def beyond_jail() -> bool:
    """Whether the file that says where the head is was made after this process's jail, which does not reach it.

    Landlock refuses to open it, and lets access(2) see that it is there and whether its mode would let it be read.
    """
    try:
        _current().open().close()
    except PermissionError:
        return os.access(_current(), os.R_OK)
    except OSError:
        return False
    return False


def _current() -> Path:
    return Path(os.environ.get("RAY_TMPDIR", "/tmp/ray"), CURRENT)


class _RayCluster:
    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._actor_class = ray.remote(_actor_class())

    def nodes(self) -> Sequence[NodeResources]:
        try:
            found = self._ray.nodes()
        except Exception as error:
            raise Unreachable(f"the cluster does not answer: {_first_line(error)}") from error
        resources = [node["Resources"] for node in found if node["Alive"]]
        return [NodeResources(each.get("CPU", 0), each.get("GPU", 0), each.get("memory", 0)) for each in resources]

    def start(self, placement: Placement) -> NodeHandle:
        try:
            actor = self._actor_class.options(
                num_cpus=placement.cpus,
                num_gpus=placement.gpus,
                memory=placement.memory or None,
                scheduling_strategy="SPREAD",
                max_concurrency=AT_ONCE,
                max_restarts=0,
                max_task_retries=0,
            ).remote()
        except Exception as error:
            raise Unreachable(f"the cluster does not answer: {_first_line(error)}") from error
        return _RayHandle(self._ray, actor)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it is gone
            self._ray.shutdown()


class _RayHandle:
    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def ask(self, what: str, *values: Any, seconds: float) -> Any:
        try:
            answer: Future[Any] = self._actor.ask.remote(what, *values).future()
            found = answer.result(seconds)
        except LateError:
            raise EndpointFailed(f"it did not answer within {seconds:g} s") from None
        except ConnectionError as error:
            raise Unreachable(f"the cluster does not answer: {_first_line(error)}") from error
        # Ray raises its own errors, those of gRPC, and what the actor raised.
        except Exception as error:
            raise EndpointFailed(_first_line(error)) from error
        if isinstance(found, dict) and "fault" in found:
            raise EndpointFailed(str(found["fault"])[:1000])
        if isinstance(found, dict) and "error" in found and "op" not in found:
            raise ModelError(str(found["error"])[:1000])
        if isinstance(found, dict) and "without" in found:
            raise ModelError(WITHOUT.format(str(found["without"])[:200]))
        return found

    def kill(self) -> None:
        with contextlib.suppress(Exception):  # the cluster is gone, and with it the actor
            self._ray.kill(self._actor, no_restart=True)


def _actor_class() -> type:
    """What every node runs. It refers to nothing outside itself, and is found nowhere by its name: it goes by value."""

    class ImageServerWorker:
        def __init__(self) -> None:
            self._worker: Any = None

        def ask(self, what: str, *values: Any) -> Any:
            if self._worker is None:
                try:
                    from imageserver.inference.worker.cluster.node import NodeWorker
                except ImportError as error:
                    return {"without": str(error)}
                self._worker = NodeWorker()
            return self._worker.ask(what, *values)

    return ImageServerWorker


def _first_line(error: BaseException) -> str:
    """What Ray says at length, in a line for the log."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)[:300]
