"""What it costs that Redis is gone for a while: texts that nobody hears, and the time until lists are whole again.

It is killed, so everybody knows at once, and is there again after 30 s, or so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.simulation.parts import RelayTimes
from bench.simulation.relay.world import Setup, World

BEFORE, STEP = 8.0, 0.05
"""Seconds that front ends have to know each other; and after which it is looked who is connected."""


@dataclass(frozen=True)
class Outage:
    """What was seen of it.

    Args:
        front_ends: how many.
        cameras: of all.
        network: bytes a second out of Redis.
        connected: seconds from Redis's return until every front end was connected.
        whole: until everybody knew every camera; infinite: not in the time that was looked at.
        known: share of the rows of others that front ends knew in the end.
        texts_lost: seconds in which as many texts are said as did not reach other front ends.
        thrown_out: how often Redis threw one out that read too slowly.
    """

    front_ends: int
    cameras: int
    network: float
    connected: float
    whole: float
    known: float
    texts_lost: float
    thrown_out: int


def outage(times: RelayTimes, setup: Setup, seconds: float = 30.0, after: float = 20.0) -> Outage:
    """Redis is gone for so many seconds, and it is looked on for so many after its return."""
    world = World(times, setup)
    world.run(BEFORE)
    unheard = world.unheard
    world.redis.fail()
    world.run(seconds)
    world.redis.come_back()
    back, connected = world.events.now, math.inf
    before = [one.connection for one in world.front_ends]
    for _step in range(round(after / STEP)):
        world.run(STEP)
        again = all(one.connection > was for one, was in zip(world.front_ends, before, strict=True))
        if again and connected == math.inf:
            connected = world.events.now - back
    expected = setup.texts * (setup.front_ends - 1)
    return Outage(
        setup.front_ends,
        setup.front_ends * setup.cameras,
        setup.network,
        connected,
        world.since - back,
        world.known,
        (world.unheard - unheard) / expected if expected else 0.0,
        world.redis.thrown_out,
    )
