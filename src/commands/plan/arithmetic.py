"""How many machines so many cameras need: a list of lines, each with its formula. Pure.

A machine runs front ends and the workers beside them. A front end is one thread, so it keeps one processor busy at
most; workers share the others. Whatever serves what comes at random waits the longer the busier it is, so nothing is
planned busier than `Headroom.utilisation`, even when `Headroom.spare` machines have failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from imageserver.commands.plan.figures import FrontEndCost, ModelCost
from imageserver.errors import SettingError

FRAMING = 1.07
"""Bytes on the wire for one of a frame: an Ethernet frame of 1,538 bytes with its gap carries 1,448 of TCP's stream
(1.062); the rest is WebSocket's and Socket.IO's, and the acknowledgements of the other direction."""
FRAMES_WAITING = 2
"""Of each camera: one runs while one waits (streams/room.py)."""
MOST_WORKERS = 4
"""Of a front end, where `--workers` says nothing (config/table.py)."""
MOST_MACHINES = 10**9


@dataclass(frozen=True)
class Demand:
    """What is wanted: `size` in bytes of a frame."""

    cameras: int
    hz: float
    size: int
    model: str


@dataclass(frozen=True)
class Machine:
    """One machine: memory in bytes, network in bits a second each way, connections that a front end takes.

    `accelerated`: its model runs on an accelerator, of which it has one.
    """

    processors: int
    memory: int
    network: float
    connections: int
    accelerated: bool = False


@dataclass(frozen=True)
class Headroom:
    """`utilisation`: the share of anything that is planned for, 0 to 1. `spare`: machines that may fail at once."""

    utilisation: float
    spare: int


@dataclass(frozen=True)
class Line:
    """One figure, and how it came about: a person can check it with a calculator."""

    name: str
    value: float
    unit: str
    formula: str


@dataclass(frozen=True)
class Plan:
    """`machines` in all, `needed` of which carry the load; `decided_by` is what needs so many."""

    machines: int
    needed: int
    decided_by: str
    lines: tuple[Line, ...]


def plan(demand: Demand, front: FrontEndCost, model: ModelCost, machine: Machine, headroom: Headroom) -> Plan:
    """All lines. SettingError: no number of such machines would do."""
    lines: list[Line] = []

    def line(name: str, value: float, unit: str, formula: str) -> float:
        lines.append(Line(name, value, unit, formula))
        return value

    share = headroom.utilisation
    frames = line("frames", demand.cameras * demand.hz, "a second", f"{demand.cameras:,} cameras x {demand.hz:g}")
    fronts = line(
        "front ends' work", frames * front.processor_ms / 1000, "processors",
        f"{short(frames)} x {front.processor_ms:g} ms",
    )  # fmt: skip
    by_work, by_connections = up(fronts / share), up(demand.cameras / machine.connections)
    front_ends = line(
        "front ends, at least", max(1, by_work, by_connections), "",
        f"the larger of {short(fronts)} / {share:g} (each is one thread, so one processor) and {demand.cameras:,} / "
        f"{machine.connections:,} connections, rounded up",
    )  # fmt: skip
    works = line(
        "workers' work", frames * model.processor_ms / 1000, "processors",
        f"{short(frames)} x {model.processor_ms:g} ms",
    )  # fmt: skip
    processors = line(
        "processors", (fronts + works) / share, "", f"({short(fronts)} + {short(works)}) / {share:g}"
    )  # fmt: skip
    counts = {
        "processors": line(
            "machines by processors", up(processors / machine.processors), "",
            f"{short(processors)} / {machine.processors} of a machine, rounded up",
        )
    }  # fmt: skip
    if machine.accelerated:
        counts["accelerators"] = line(
            "machines by accelerators", up(frames / (model.pictures * share)) if model.pictures else MOST_MACHINES, "",
            f"{short(frames)} / ({short(model.pictures)} pictures a second x {share:g}), rounded up",
        )  # fmt: skip
    counts["network"] = _network(line, demand, front, machine, share, frames)
    counts["memory"] = _memory(line, demand, front, model, machine, share, front_ends / max(counts.values()))
    needed = int(max(counts.values()))
    decided_by = max(counts, key=lambda name: counts[name])
    _whole(line, demand, machine, headroom, needed, fronts + works)
    return Plan(needed + headroom.spare, needed, decided_by, tuple(lines))


_Add = Callable[[str, float, str, str], float]


def _network(line: _Add, demand: Demand, front: FrontEndCost, machine: Machine, share: float, frames: float) -> float:
    incoming = line(
        "network, in", frames * demand.size * 8 * FRAMING / 1e9, "Gbit/s",
        f"{short(frames)} x {demand.size:,} bytes x 8 x {FRAMING} for headers",
    )  # fmt: skip
    outgoing = line(
        "network, out", frames * front.answer_bytes * 8 * FRAMING / 1e9, "Gbit/s",
        f"{short(frames)} x {front.answer_bytes:,.0f} bytes x 8 x {FRAMING}",
    )  # fmt: skip
    link = machine.network / 1e9
    busier = max(incoming, outgoing)
    return line(
        "machines by network", up(busier / (link * share)), "",
        f"{short(busier)} / ({link:g} Gbit/s of a machine x {share:g}), rounded up",
    )  # fmt: skip


def _memory(
    line: _Add,
    demand: Demand,
    front: FrontEndCost,
    model: ModelCost,
    machine: Machine,
    share: float,
    front_ends: float,
) -> float:
    """`front_ends`: of a machine."""
    each = line(
        "memory of a camera", front.camera_kb + FRAMES_WAITING * demand.size / 1000, "KB",
        f"{front.camera_kb:g} KB + {FRAMES_WAITING} frames x {demand.size:,} bytes (one runs, one waits)",
    )  # fmt: skip
    count, workers = up(front_ends), min(MOST_WORKERS, machine.processors)
    fixed = line(
        "memory of processes", count * (front.memory_mb + workers * model.memory_mb), "MB a machine",
        f"{count} front ends x ({front.memory_mb:g} MB + {workers} workers x {model.memory_mb:g} MB)",
    )  # fmt: skip
    room = machine.memory / 1e6 * share - fixed
    if room <= 0:
        raise SettingError(
            f"a machine of {machine.memory / 1e9:g} GB has no room for cameras: {share:g} of it is less than the "
            f"{fixed:,.0f} MB of its processes; plan machines with more by --memory"
        )
    return line(
        "machines by memory", up(demand.cameras * each / 1000 / room), "",
        f"{demand.cameras:,} x {short(each)} KB / ({machine.memory / 1e6:,.0f} MB x {share:g} - {short(fixed)} MB), "
        "rounded up",
    )  # fmt: skip


def _whole(line: _Add, demand: Demand, machine: Machine, headroom: Headroom, needed: int, busy: float) -> None:
    """What becomes of it: when all machines run, and when the spare ones have failed."""
    total, owned = needed + headroom.spare, machine.processors
    line("machines", total, "", f"{needed:,} + {headroom.spare} that may fail")
    line("processors busy", 100 * busy / (total * owned), "%", f"{short(busy)} / ({total:,} x {owned})")
    if headroom.spare:
        line(
            "when spare ones have failed", 100 * busy / (needed * owned), "%", f"{short(busy)} / ({needed:,} x {owned})"
        )  # fmt: skip
    line(
        "cameras of a machine", math.ceil(demand.cameras / needed), "at most",
        f"{demand.cameras:,} / {needed:,}, rounded up: the others are lost",
    )  # fmt: skip
    share = headroom.utilisation
    line(
        "waiting", share / (2 * (1 - share)), "times the work itself",
        f"{share:g} / (2 x (1 - {share:g})): a queue that is so busy, with work of one length (M/D/1)",
    )  # fmt: skip


def up(value: float) -> int:
    """Rounded up, at least 1. What is beyond a whole number by an error of arithmetic is not more than it."""
    return max(1, math.ceil(value - 1e-9))


def short(value: float) -> str:
    """As people write it: four digits that count, or all of what is before the point."""
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"
