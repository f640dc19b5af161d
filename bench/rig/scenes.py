"""What is done to the world, and what is to hold then."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from itertools import count

import requests
from bench.rig import model
from bench.rig.report import Report
from bench.rig.world import PATIENCE, World
from tests.deploy.front_ends import NAMES, leave
from tests.faults.load import Figures
from tests.running import until

from imageserver.errors import UsersUnavailable

ELSEWHERE = 5.0
"""Seconds until the cameras of a front end that was killed are answered by another one."""
CAPACITY = 10.0
"""Seconds until as many replicas answer as before, once the loss of a node is known."""
BACK = 5.0
"""Seconds until all is back, once Redis or PostgreSQL are."""
GONE = 30.0
"""Seconds for which these are away."""
GOODPUT = 95.0
"""Percent of what is otherwise answered a second, while everything is restarted."""
SECONDS = 20.0
"""Of a quiet figure."""
SEEN = 3.0
"""Seconds in which a proxy that has clients sees that a front end is there."""
STEADY = 5.0
"""Seconds for which as many replicas as before have to be there, before the first of these counts."""

_numbers = count(1)


def quiet(world: World, report: Report) -> None:
    """Nothing happens."""
    figures = world.crowd.during(SECONDS)
    _tell(figures, report)
    report.most("wrong answers", figures.wrong, 0)


def front_end(world: World, report: Report) -> None:
    """kill -9 of a front end."""
    server = world.ends.servers["b"]
    world.crowd.figures()  # how long they wait for an answer is counted from here
    server.process.kill()
    server.process.wait()
    world.crowd.until(lambda seen: seen.lost and seen.connected == world.crowd.count, "all cameras to be back")
    time.sleep(2 * ELSEWHERE)  # until all have been answered; whoever has not is counted up to then
    figures = world.crowd.figures()
    _tell(figures, report)
    report.most("longest silence of a camera from the kill on", figures.silence, ELSEWHERE, " s")
    report.most("connections lost by one camera", figures.most_lost, 1)
    report.most("wrong answers", figures.wrong, 0)
    world.begin("b")
    world.crowd.again()


def ray_node(world: World, report: Report) -> None:
    """kill -9 of a node of the cluster, with all that runs on it."""
    wanted, ended = model.REPLICAS * len(NAMES), world.replicas()[1]
    world.crowd.figures()
    world.ray.nodes.pop(0).kill()
    known, back = _lost_and_back(world, wanted, ended)
    figures = world.crowd.figures()
    report.tell(f"the loss was known after {known:.1f} s; {figures.sent - figures.answered} frames were replaced")
    report.most("seconds from then until all replicas answer", back, CAPACITY)
    _streamed_on(figures, report)
    world.ray.add_node(1)


def redis(world: World, report: Report) -> None:
    """kill -9 of Redis, which is back after a while."""
    world.crowd.figures()
    world.redis.kill()
    time.sleep(GONE)
    heard = world.viewer.heard
    others = [name for name in NAMES if name != world.viewer.at]
    report.tell(f"others' cameras were last seen {time.monotonic() - max(heard[name] for name in others):.1f} s ago")
    world.redis.start()
    back = time.monotonic()
    until(lambda: world.viewer.sees_all_since(back), "cameras of all front ends to be seen", PATIENCE, 0.1)
    until(lambda: not world.lacking(), "front ends to lack nothing", PATIENCE, 0.1)
    after = time.monotonic() - back
    _streamed_on(world.crowd.figures(), report)
    report.most("seconds until others' cameras are seen", after, BACK)
    _pictures(world, report)


def postgresql(world: World, report: Report) -> None:
    """kill -9 of PostgreSQL, which is back after a while."""
    known = [world.asking.get(f"{url}/list_nn", timeout=30).status_code for url in world.ends.urls.values()]
    assert set(known) == {200}, known
    world.crowd.figures()
    world.postgresql.kill()
    asked: list[int] = []
    end = time.monotonic() + GONE
    while time.monotonic() < end:
        asked += [world.asking.get(f"{url}/list_nn", timeout=30).status_code for url in world.ends.urls.values()]
        time.sleep(1)
    world.postgresql.start()
    back = time.monotonic()
    name = f"late-{next(_numbers)}"
    until(lambda: _added(world, name), "a new user", PATIENCE, 0.1)
    for url in world.ends.urls.values():
        until(lambda url=url: _logs_in(world, url, name), "the new user's login", PATIENCE, 0.1)
    after = time.monotonic() - back
    _streamed_on(world.crowd.figures(), report)
    report.most(f"logins known before that were refused meanwhile, of {len(asked)}", sum(s != 200 for s in asked), 0)
    report.most("seconds until a new user logs in everywhere", after, BACK)
    _users(world, report)


def restart(world: World, report: Report) -> None:
    """Everything is restarted, one after the other: front ends, with one that is empty at first, nodes of the cluster,
    Redis and PostgreSQL. nginx is told to read its file again. Ray's head stays."""
    leave(world.ends.servers["c"])
    world.crowd.until(lambda seen: seen.connected == world.crowd.count, "all cameras at two front ends")
    time.sleep(SEEN)
    before = world.crowd.during(SECONDS)
    for spare, name in ("ca", "ab"):
        world.begin(spare)
        time.sleep(SEEN)
        leave(world.ends.servers[name])
    world.begin("b")
    _restart_others(world)
    world.crowd.until(lambda seen: seen.connected == world.crowd.count, "all cameras")
    time.sleep(SEEN)
    figures = world.crowd.figures()
    report.tell(f"before {_rate(before):.1f} answers a second; {before}")
    report.tell(f"for {figures.seconds:.0f} s:")
    _tell(figures, report)
    report.least("goodput", 100 * _rate(figures) / _rate(before), GOODPUT, " %")
    report.most("connections lost by one camera", figures.most_lost, 1)
    report.most("errors told to cameras", sum(figures.errors.values()), 0)
    report.most("wrong answers", figures.wrong, 0)
    world.crowd.again()


def _restart_others(world: World) -> None:
    """All but front ends and Ray's head."""
    wanted = model.REPLICAS * len(NAMES)
    for _node in range(len(world.ray.nodes)):
        world.ray.nodes.pop(0).stop()
        world.ray.add_node(1)
        time.sleep(STEADY)
        until(lambda: world.replicas()[0] == wanted, "all replicas", PATIENCE, 0.3)
    world.proxy.process.send_signal(signal.SIGHUP)
    world.redis.kill()
    world.redis.start()
    world.postgresql.kill()
    world.postgresql.start()
    until(lambda: not world.lacking(), "front ends to lack nothing", PATIENCE, 0.1)


def end(world: World, report: Report) -> None:
    """What holds for all of it."""
    report.tell(f"{world.added.refused} users and {world.snippets.refused} pictures were not acknowledged")
    _users(world, report)
    _pictures(world, report)
    report.most("wrong predictions seen by the viewer, or told to who put a picture", _told_wrong(world), 0)
    said = sum("Traceback" in line for server in world.ends.started for line in server.lines)
    report.most("tracebacks in the logs of front ends", said, 0)


SCENES: dict[str, Callable[[World, Report], None]] = {
    "quiet": quiet,
    "front-end": front_end,
    "ray-node": ray_node,
    "redis": redis,
    "postgresql": postgresql,
    "restart": restart,
}
"""In their order."""


def _rate(figures: Figures) -> float:
    return figures.answered / figures.seconds


def _tell(figures: Figures, report: Report) -> None:
    report.tell(f"{_rate(figures):.1f} answers a second; {figures}")
    for sentence, times in figures.errors.items():
        report.tell(f"{times} times: {sentence}")


def _streamed_on(figures: Figures, report: Report) -> None:
    """No camera has noticed more than frames that were replaced."""
    _tell(figures, report)
    report.most("connections lost", figures.lost, 0)
    report.most("errors told to cameras", sum(figures.errors.values()), 0)
    report.most("wrong answers", figures.wrong, 0)


def _lost_and_back(world: World, wanted: int, ended: int) -> tuple[float, float]:
    """Seconds until a replica is known to have ended, and from then until all that are wanted are there to stay."""
    begun = time.monotonic()
    known = back = 0.0
    while not back or time.monotonic() < back + STEADY:
        assert time.monotonic() < begun + PATIENCE, f"replicas that are ready, and that have ended: {world.replicas()}"
        ready, gone = world.replicas()
        if gone > ended:
            known = known or time.monotonic()
        if ready != wanted:
            back = 0.0
        elif known:
            back = back or time.monotonic()
        time.sleep(0.2)
    return known - begun, back - known


def _added(world: World, name: str) -> bool:
    wish = {"password": name, "roles": ["viewer"]}
    return world.asking.put(f"{world.proxy.url}/users/{name}", json=wish, timeout=30).ok


def _logs_in(world: World, url: str, name: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{url}/list_nn", auth=(name, name), timeout=30).ok


def _users(world: World, report: Report) -> None:
    """All that were acknowledged are there."""
    names = {world.added.name(number) for number in list(world.added.acknowledged)}
    lost = names - until(lambda: _listed(world), "the list of users")
    report.most(f"users lost, of {len(names)} acknowledged", len(lost), 0)


def _listed(world: World) -> set[str]:
    with contextlib.suppress(UsersUnavailable):  # of this process, which may not have come back yet
        return {user.name for user in world.users.list()}
    return set()


def _pictures(world: World, report: Report) -> None:
    """The same."""
    lost = world.snippets.missing()
    report.most(f"pictures lost, of {len(world.snippets.acknowledged)} acknowledged", len(lost), 0)


def _told_wrong(world: World) -> int:
    return world.viewer.wrong + world.snippets.wrong
