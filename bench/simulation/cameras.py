"""Cameras: each sends at its own times, to the node that it is connected to, and looks for another when that fails.

It waits before it tries again as clients/imageserver_client/camera.py does, so that not all come back at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from bench.simulation.events import Events
from bench.simulation.node import MOST_TRAVELLING, Counts, Node, Stream

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""As the Python client: doubled each time, each shorter by up to half at random."""


@dataclass(frozen=True)
class Habits:
    """How cameras behave.

    Args:
        hz: frames a second of each.
        jitter: standard deviation of when a frame leaves, as a share of the time between two.
        network: seconds to a front end.
        notice: seconds until a camera knows that its node has failed: 0 where the kernel or nginx says so, up to
            the ping interval and timeout where it is silent.
    """

    hz: float
    jitter: float = 0.0
    network: float = 0.0
    notice: float = 0.0


@dataclass(slots=True, eq=False)
class Camera:
    """One camera. `node` is None while it has none."""

    node: Node | None
    stream: Stream = field(default_factory=Stream)
    tries: int = 0
    lost_since: float = -1.0
    """When its node failed, until it is answered again."""


class Cameras:
    """All cameras of a world.

    Args:
        events: when it happens.
        habits: of all.
        find: the node that a camera is given as it connects; None: there is none.
        random: for times.
        counts: where frames are counted.
    """

    def __init__(
        self, events: Events, habits: Habits, find: Callable[[], Node | None], random: Random, counts: Counts
    ) -> None:
        self._events, self._habits, self._find, self._random, self._counts = events, habits, find, random, counts
        self.all: list[Camera] = []

    def add(self, node: Node) -> Camera:
        """One more, connected, which begins at a time of its own."""
        camera = Camera(node)
        self.all.append(camera)
        self._events.after(self._random.random() / self._habits.hz, self._send, camera, 0.0)
        return camera

    def fail(self, node: Node) -> list[Camera]:
        """A node is gone: its cameras, which look for others once they notice."""
        theirs = [camera for camera in self.all if camera.node is node]
        node.fail([camera.stream for camera in theirs])
        for camera in theirs:
            camera.stream, camera.tries, camera.lost_since = Stream(), 0, self._events.now
            self._events.after(self._habits.notice, self._lose, camera)
        return theirs

    def _send(self, camera: Camera, early: float) -> None:
        """Now, and again after the camera's time; `early` is by how much this one came before it."""
        habits, counts = self._habits, self._counts
        node = camera.node
        if node is None:
            pass
        elif camera.stream.travelling >= MOST_TRAVELLING:
            counts.withheld += 1
        else:
            counts.sent += 1
            counts.travelling += 1
            camera.stream.travelling += 1
            self._events.after(habits.network, node.arrive, camera.stream, self._events.now)
        shift = self._random.gauss(0.0, habits.jitter) / habits.hz if habits.jitter else 0.0
        shift = min(max(shift, -0.45 / habits.hz), 0.45 / habits.hz)
        self._events.after(1 / habits.hz + early - shift, self._send, camera, shift)

    def _lose(self, camera: Camera) -> None:
        camera.node = None
        self._try_later(camera)

    def _try_later(self, camera: Camera) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(camera.tries, 9)) * self._random.uniform(0.5, 1.0)
        camera.tries += 1
        self._events.after(pause, self._try, camera)

    def _try(self, camera: Camera) -> None:
        node = self._find()
        if node is None:
            self._try_later(camera)
        else:
            node.connect(lambda: self._connected(camera, node))

    def _connected(self, camera: Camera, node: Node) -> None:
        if node.alive:
            camera.node = node
        else:
            self._try_later(camera)
