"""A worker process for one model that runs on a cluster: started by the server, with `--control FD --arena FD`.

To the server it is a worker that has several batches under way (worker/remote/main.py is another): each goes to a
replica as one piece, and its answer comes back into its slot. How many it may have at the moment it says by messages
`cluster`; what no replica answered is `lost`, as if the worker had died. While there is no replica the model is
`unreachable`, and `loaded` once there is one again. Without the cluster it goes on asking; where that was there and is
lost, this process ends, and the next one begins anew; so it does where the cluster of this machine was started after
it, since its jail does not reach what Ray says of that.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from imageserver.errors import ImageServerError, Unreachable
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere import cluster
from imageserver.inference.shared.elsewhere.cluster import ON_CLUSTER, ClusterAddress
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker import main as worker
from imageserver.inference.worker.cluster import bundle, connection, placing
from imageserver.inference.worker.cluster.bundle import Note
from imageserver.inference.worker.cluster.connection import ClusterConnection
from imageserver.inference.worker.cluster.fleet import Fleet
from imageserver.inference.worker.cluster.node import LoadOrder
from imageserver.inference.worker.cluster.settings import ClusterSettings
from imageserver.inference.worker.main import Worker, note_to_stderr
from imageserver.jail import entry

STEP_EVERY = 0.25
"""Seconds between two looks at how many replicas there should be."""
LOOK_EVERY = 2.0
"""Seconds between two looks whether the cluster is there, and between two tries to reach it."""
SETTLES_WITHIN = 10.0
"""Seconds that this process lives at least: none follows the other all the time."""
NOBODY_FOR = 5.0
"""Seconds without a replica until the model is unreachable: until then what waits waits, as while a worker starts."""
NOBODY = "no worker of the cluster has it ready"
"""What clients are told."""
AWAY = "the cluster does not answer"
CLOSE_WITHIN = 0.3
"""Seconds: one that was told to stop has half a second (server/child_process.py)."""
TOKEN = "RAY_AUTH_TOKEN_PATH"
HOME_TOKEN = ".ray/auth_token"
"""Where Ray looks for its token, in a home that a jailed process does not have."""


@dataclass(frozen=True)
class ClusterContext:
    """What replicas are started with, in place of what a worker loads models with.

    Args:
        note: takes a line for the log.
        settings: bounds.
        address: of the cluster.
        arguments: for the command line of the worker on a node.
        jail: whether that is held in one.
        memory: bytes that it may have of its own, where its manifest says nothing; 0 is no limit.
        models_cache: the folder of converted models here.
    """

    note: Note
    settings: ClusterSettings
    address: ClusterAddress
    arguments: tuple[str, ...]
    jail: bool
    memory: int
    models_cache: Path


class ClusterWorker(Worker):
    """One whose batches run on a cluster."""

    _context: ClusterContext  # type: ignore[assignment]

    def __init__(self, control: socket.socket, arena: memoryview, context: Any, slots: int) -> None:
        super().__init__(control, arena, context)
        self._settings = self._context.settings
        self._threads = ThreadPoolExecutor(slots, "batch")
        self._cluster: ClusterConnection | None = None
        self._fleet: Fleet | None = None
        self._reached: bool | None = None
        """What the server was told last; None: nothing yet."""
        self._told: object = None
        self._alone_since = time.monotonic()
        self._trouble = self._noted = ""

    def close(self) -> None:
        """End the replicas, as far as that takes no longer than a moment: the cluster does so by itself as well."""
        if self._cluster is not None:
            ending = threading.Thread(target=self._cluster.close, name="close", daemon=True)
            ending.start()
            ending.join(CLOSE_WITHIN)

    def _waits(self, seconds: float) -> None:
        if self._fleet is not None:
            self._fleet.age = seconds

    def _leaves(self, replicas: int) -> None:
        if self._fleet is not None:
            self._fleet.leaves = replicas

    def _begin(self, message: wire.Message) -> None:
        self._threads.submit(self._answer_one, message)

    def _answer_one(self, message: wire.Message) -> None:
        start = message["slot"] * wire.SLOT_BYTES
        with contextlib.suppress(OSError):  # the server is gone
            assert self._fleet is not None
            done = self._fleet.run(self._arena[start : start + wire.SLOT_BYTES], message["items"])
            self._answer(message, done)

    def _load(self, name: str, folder: Path) -> None:
        """Keep replicas of the model, for ever."""
        begun = time.monotonic()
        try:
            manifest = manifests.read(folder)
            cache = self._context.models_cache
            files = bundle.of(manifest, cache, self.convert, self._context.note, self._settings.cache)
            there = self._cluster = self._connect(name)
        except ImageServerError as error:
            self._failed(name, str(error), error.__cause__)
            return
        self._fleet = self._make_fleet(manifest, files, there)
        threading.Thread(target=self._look, args=(name, manifest, there), name="look", daemon=True).start()
        worker.settle()
        while not self._fleet.failure:
            self._fleet.step()
            self._tell(name, self._fleet, time.monotonic() - begun)
            time.sleep(STEP_EVERY)
        self._fleet.stop()
        self._failed(name, self._fleet.failure, None)

    def _connect(self, name: str) -> ClusterConnection:
        """The cluster, once it answers. ModelError: Ray is not installed."""
        begun = time.monotonic()
        while True:
            try:
                return connection.connect(self._context.address)
            except Unreachable as error:
                self._note_once(f"{name}: {error}")
                self._tell_unreachable(name, AWAY)
                settled = time.monotonic() - begun > SETTLES_WITHIN
                if settled and self._context.address.auto and connection.beyond_jail():
                    self._context.note(f"{name}: Ray was started after this process, which makes room for another")
                    os._exit(1)
                time.sleep(LOOK_EVERY)

    def _make_fleet(self, manifest: Manifest, files: bundle.Bundle, there: ClusterConnection) -> Fleet:
        placement, context = manifest.placement, self._context
        arguments = ("--threads", str(max(1, round(placement.cpus))), *context.arguments)
        order = LoadOrder(
            manifest.name,
            files.digest,
            arguments,
            context.jail,
            (placement.memory or context.memory) if context.memory else 0,
            self._settings.load_seconds,
        )
        return Fleet(there, files, order, placement, self._settings, self._context.note, time.monotonic)

    def _look(self, name: str, manifest: Manifest, there: ClusterConnection) -> None:
        """Whether the cluster is there, and has a node that is large enough; without it this process ends."""
        before = 0
        while True:
            time.sleep(LOOK_EVERY)
            try:
                self._trouble = placing.trouble(manifest.placement, there.nodes())
            except Unreachable as error:
                self._context.note(f"{name}: {error}")
                with contextlib.suppress(OSError):
                    self._tell_unreachable(name, AWAY)
                threading.Timer(1.0, os._exit, (1,)).start()  # batches that are under way are told as lost
                if self._fleet is not None:
                    self._fleet.stop()
                return
            waiting = self._fleet.placing if self._fleet is not None else 0
            if self._trouble:
                self._note_once(f"{name} cannot be placed: {self._trouble}")
            elif waiting and before:
                self._note_once(f"{name}: the cluster has no room for {waiting} of its replicas, which wait for it")
            before = waiting

    def _tell(self, name: str, fleet: Fleet, seconds: float) -> None:
        """How it stands, where that has changed."""
        ready, now = fleet.ready, time.monotonic()
        figures = fleet.figures
        told = (ready, fleet.room, dict(figures.states), figures.answered, figures.lost, figures.ended)
        if told != self._told:
            self._told = told
            counted = {"answered": figures.answered, "lost": figures.lost, "ended": figures.ended}
            room = {"places": ready, "batches": told[1]}
            self._send({"op": "cluster", "model": name, **room, "states": told[2], **counted})
        if ready:
            self._alone_since = now
            if not self._reached and fleet.loaded is not None:
                self._reached = True
                about = {key: fleet.loaded[key] for key in ("warnings", "decoded_as")}
                runtime = fleet.loaded["runtime"] + ON_CLUSTER
                self._send({"op": "loaded", "model": name, "runtime": runtime, "seconds": round(seconds, 3), **about})
        elif now - self._alone_since > NOBODY_FOR and (
            self._reached or self._trouble or fleet.placing or fleet.failing
        ):
            self._tell_unreachable(name, self._trouble or NOBODY)

    def _tell_unreachable(self, name: str, error: str) -> None:
        if self._reached is not False:
            self._reached = False
            self._send({"op": "unreachable", "model": name, "error": error})

    def _note_once(self, text: str) -> None:
        if text != self._noted:
            self._noted = text
            self._context.note(text)


def parser() -> argparse.ArgumentParser:
    """What its command line holds."""
    parser = worker.parser()
    parser.add_argument("--cluster", required=True, help="where Ray's clients come in: ray://host:port")
    parser.add_argument("--cluster-slots", type=int, required=True, help="batches that may be under way")
    parser.add_argument("--cluster-memory", type=int, default=0, help="bytes for a worker on a node; 0 is no limit")
    parser.add_argument("--cluster-open", action="store_true", help="workers on nodes are in no jail")
    for field in fields(ClusterSettings):
        option = "--cluster-" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), default=field.default, help="as in ClusterSettings")
    return parser


def make_context(options: argparse.Namespace) -> ClusterContext:
    """What the command line says."""
    limits = ("max_bytes", "max_pixels", "max_decoded_bytes", "costly_bytes")
    given = [(f"--{name.replace('_', '-')}", str(getattr(options, name))) for name in limits]
    settings = {field.name: getattr(options, f"cluster_{field.name}") for field in fields(ClusterSettings)}
    return ClusterContext(
        note_to_stderr(os.getpid()),
        ClusterSettings(**settings),
        cluster.address(options.cluster),
        tuple(word for pair in given for word in pair),
        not options.cluster_open,
        options.cluster_memory,
        options.models_cache,
    )


def main() -> None:
    worker.bind_life_to_parent()
    options = parser().parse_args()
    token = Path.home() / HOME_TOKEN
    entry.enter(options.jail)
    with contextlib.suppress(OSError):
        if token.is_file():
            os.environ.setdefault(TOKEN, str(token))
    control, arena = worker.open_wall(options, options.cluster_slots * wire.SLOT_BYTES)
    made = ClusterWorker(control, arena, make_context(options), options.cluster_slots)
    with contextlib.suppress(OSError):  # the server is gone: nobody is left to be told
        made.serve()
    made.close()
    sys.stderr.flush()
    os._exit(0)  # what is still under way must not delay the end
