"""A world: nodes with their cameras, what fails in it and when, and what is seen of it each tenth of a second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from bench.simulation.cameras import Camera, Cameras, Habits
from bench.simulation.events import Events, Histogram
from bench.simulation.node import Counts, Node
from bench.simulation.parts import Parts


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    Args:
        model: of `Parts.models`.
        nodes: front ends.
        workers: of each node.
        cameras: in all.
        habits: theirs.
        hashed: each camera's node is drawn, as by the hash of its name; else they are dealt out evenly.
        seed: of everything drawn.
    """

    model: str
    nodes: int
    workers: int
    cameras: int
    habits: Habits
    hashed: bool = True
    seed: int = 1


@dataclass(frozen=True)
class Seen:
    """What was counted in a time: frames a second, shares, and ages in seconds."""

    sent: float
    answered: float
    replaced: float
    """Share of what was sent."""
    lost: int
    age_p50: float
    age_p99: float
    busiest: float
    """Share of its time that the busiest front end worked."""


class World:
    """Made from a setup; `run` lets time pass, `measure` tells what happened meanwhile."""

    def __init__(self, parts: Parts, setup: Setup) -> None:
        self._parts, self._setup = parts, setup
        self._random = Random(setup.seed)
        self.events, self.counts = Events(), Counts()
        self.nodes = [self._node() for _number in range(setup.nodes)]
        self.cameras = Cameras(self.events, setup.habits, self.find, self._random, self.counts)
        for number in range(setup.cameras):
            at = self._random.randrange(setup.nodes) if setup.hashed else number % setup.nodes
            self.cameras.add(self.nodes[at])

    def _node(self) -> Node:
        setup, front = self._setup, self._parts.front
        model = self._parts.models[setup.model]
        return Node(
            self.events, front, model, setup.workers, self._random, self.counts, setup.habits.network
        )  # fmt: skip

    def find(self) -> Node | None:
        """A node that lives, by chance; None where none does."""
        able = [node for node in self.nodes if node.alive]
        return self._random.choice(able) if able else None

    def fail(self, number: int) -> list[Camera]:
        """A node's machine is gone; its cameras."""
        return self.cameras.fail(self.nodes[number])

    def restore(self, number: int) -> None:
        """Another takes its place, without cameras."""
        self.nodes[number] = self._node()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.events.run(self.events.now + seconds)

    def measure(self, seconds: float) -> Seen:
        """Let time pass, and tell what was counted in it."""
        before = replace(self.counts)
        busy = {node: node.busy for node in self.nodes}
        self.counts.ages, self.counts.trips = Histogram(), Histogram()
        self.run(seconds)
        counts = self.counts
        sent = counts.sent - before.sent
        return Seen(
            sent=sent / seconds,
            answered=(counts.answered - before.answered) / seconds,
            replaced=(counts.replaced - before.replaced) / max(1, sent),
            lost=counts.lost - before.lost,
            age_p50=counts.ages.quantile(0.5),
            age_p99=counts.ages.quantile(0.99),
            busiest=max((node.busy - busy.get(node, 0.0)) / seconds for node in self.nodes),
        )
