"""How many machines: each figure as a person works it out on paper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imageserver.commands.plan import arithmetic
from imageserver.commands.plan.arithmetic import Demand, Headroom, Machine, Plan
from imageserver.commands.plan.figures import FrontEndCost, ModelCost
from imageserver.errors import SettingError

DEMAND = Demand(cameras=5000, hz=10, size=40_000, model="yolox-s")
FRONT = FrontEndCost(processor_ms=0.2, memory_mb=70, camera_kb=30, answer_bytes=400, answered=1000, measured="")
MODEL = ModelCost(processor_ms=20, memory_mb=500, pictures=100, batch=8, measured="")
MACHINE = Machine(processors=32, memory=64_000_000_000, network=10e9, connections=20_000)
HEADROOM = Headroom(utilisation=0.5, spare=1)


def values(made: Plan) -> dict[str, float]:
    """Every line by its name."""
    assert len({line.name for line in made.lines}) == len(made.lines)
    return {line.name: line.value for line in made.lines}


def test_by_processors() -> None:
    made = arithmetic.plan(DEMAND, FRONT, MODEL, MACHINE, HEADROOM)
    assert values(made) == {
        "frames": 50_000,
        "front ends' work": 10,  # 50,000 x 0.2 ms
        "front ends, at least": 20,  # half of each thread
        "workers' work": 1000,  # 50,000 x 20 ms
        "processors": 2020,
        "machines by processors": 64,  # 63.125
        "network, in": pytest.approx(17.12),  # 50,000 x 40,000 x 8 = 16 Gbit/s, and 7 %
        "network, out": pytest.approx(0.1712),
        "machines by network": 4,  # 17.12 / 5 = 3.4
        "memory of a camera": 110,  # 30 KB and two frames of 40
        "memory of processes": 2070,  # one front end, four workers
        "machines by memory": 1,  # 550 MB in 29,930 MB
        "machines": 65,
        "processors busy": pytest.approx(100 * 1010 / 2080),
        "when spare ones have failed": pytest.approx(100 * 1010 / 2048),
        "cameras of a machine": 79,  # 78.125
        "waiting": 0.5,
    }
    assert (made.machines, made.needed, made.decided_by) == (65, 64, "processors")


def test_by_the_network() -> None:
    made = arithmetic.plan(DEMAND, FRONT, MODEL, replace(MACHINE, processors=256, network=1e9), HEADROOM)
    assert (made.needed, made.decided_by) == (35, "network")  # 17.12 / 0.5 = 34.2; of processors 2020 / 256 = 7.9


def test_by_memory() -> None:
    large = replace(DEMAND, size=2_600_000, hz=0.1)  # 500 frames a second, for which one front end is enough
    machine = replace(MACHINE, processors=256, memory=4_500_000_000)
    made = arithmetic.plan(large, FRONT, replace(MODEL, memory_mb=100), machine, HEADROOM)
    assert values(made)["memory of processes"] == 470  # 70 + 4 x 100
    assert (made.needed, made.decided_by) == (15, "memory")  # 5,000 x 5,230 KB / (2,250 - 470 MB) = 14.7


def test_by_an_accelerator() -> None:
    gpu = replace(MODEL, processor_ms=0.5, pictures=2000)
    made = arithmetic.plan(DEMAND, FRONT, gpu, replace(MACHINE, accelerated=True), HEADROOM)
    assert values(made)["machines by accelerators"] == 50  # 50,000 / (2,000 x 0.5)
    assert (made.needed, made.decided_by) == (50, "accelerators")


def test_connections_need_front_ends_as_well() -> None:
    quiet = replace(DEMAND, cameras=100_000, hz=0.01)
    made = arithmetic.plan(quiet, FRONT, MODEL, MACHINE, Headroom(0.65, 0))
    assert values(made)["front ends, at least"] == 5
    assert made.machines == made.needed and "when spare ones have failed" not in values(made)


def test_one_camera_needs_one_machine_and_one_to_spare() -> None:
    made = arithmetic.plan(replace(DEMAND, cameras=1), FRONT, MODEL, MACHINE, HEADROOM)
    assert (made.machines, made.needed) == (2, 1)


def test_a_machine_without_room() -> None:
    with pytest.raises(SettingError, match=r"a machine of 2 GB has no room for cameras: 0\.5 of it .* by --memory"):
        arithmetic.plan(DEMAND, FRONT, MODEL, replace(MACHINE, memory=2_000_000_000), HEADROOM)


def test_every_formula_names_its_figures() -> None:
    made = arithmetic.plan(DEMAND, FRONT, MODEL, MACHINE, HEADROOM)
    formulas = {line.name: line.formula for line in made.lines}
    assert formulas["workers' work"] == "50,000 x 20 ms"
    assert formulas["processors"] == "(10 + 1,000) / 0.5"
    assert formulas["machines"] == "64 + 1 that may fail"


@pytest.mark.parametrize(
    ("value", "shown"), [(3, "3"), (0.92857, "0.9286"), (1234567.8, "1,234,568"), (17.528, "17.53"), (0.0, "0")]
)
def test_figures_as_people_write_them(value: float, shown: str) -> None:
    assert arithmetic.short(value) == shown


@pytest.mark.parametrize(("value", "rounded"), [(0.0, 1), (1.0, 1), (2.0000000001, 2), (2.01, 3)])
def test_rounding_up(value: float, rounded: int) -> None:
    assert arithmetic.up(value) == rounded
