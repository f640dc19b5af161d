"""The simulation of bench/simulation: its laws, and what is known of queues in closed form."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from bench.simulation import chart, parts
from bench.simulation.cameras import Habits
from bench.simulation.events import Events, Histogram
from bench.simulation.node import MOST_TRAVELLING, Counts, Node, Stream
from bench.simulation.parts import FrontEndTimes, ModelTimes, Parts, Spread
from bench.simulation.world import Setup, World

NOTHING = FrontEndTimes(0.0, 0.0, 0.0, 0.0)
FRONT = FrontEndTimes(receive=50e-6, batch=300e-6, answer=100e-6, connect=1e-3)
WAKE = Spread((0.001,))


def fixed(seconds: float, most: int = 1) -> ModelTimes:
    """A model that takes as long for a batch of any size."""
    return ModelTimes(most, dict.fromkeys({1, most}, Spread((seconds,))), Spread((0.0,)))


def world(model: ModelTimes, front: FrontEndTimes = FRONT, **changes: object) -> World:
    setup = {"model": "it", "nodes": 1, "workers": 1, "cameras": 10, "habits": Habits(10), **changes}
    return World(Parts(front, {"it": model}, ""), Setup(**setup))  # type: ignore[arg-type]


def accounted(counts: Counts) -> int:
    return counts.travelling + counts.waiting + counts.running + counts.answered + counts.replaced + counts.lost


@pytest.mark.parametrize("share", [0.3, 0.65, 0.9])
def test_one_by_one_at_random_is_the_known_queue(share: float) -> None:
    """M/D/1: frames of streams of their own come at random to one worker that takes as long for each."""
    took, random = 0.02, Random(7)
    events, counts = Events(), Counts()
    node = Node(events, NOTHING, fixed(took), 1, random, counts)

    def come() -> None:
        node.arrive(Stream(), events.now)
        events.after(random.expovariate(share / took), come)

    come()
    events.run(20_000 * took)
    assert counts.answered / (events.now / took) == pytest.approx(share, rel=0.03)
    assert counts.ages.mean / took == pytest.approx(1 + share / (2 * (1 - share)), rel=0.06)


@pytest.mark.parametrize(("cameras", "workers", "most"), [(30, 1, 1), (64, 1, 8), (150, 2, 8)])
def test_under_overload_all_that_can_be_is_answered(cameras: int, workers: int, most: int) -> None:
    """Batches are full and workers never rest, so what is answered follows; all else is replaced."""
    one = world(fixed(0.05, most), NOTHING, cameras=cameras, workers=workers)
    one.run(2)
    seen = one.measure(20)
    assert seen.answered == pytest.approx(workers * most / 0.05, rel=0.01)
    assert seen.replaced == pytest.approx(1 - seen.answered / (cameras * 10), abs=0.01)


def test_one_camera_alone_waits_for_nobody() -> None:
    one = world(ModelTimes(1, {1: Spread((0.004,))}, WAKE), cameras=1)
    one.run(2)
    seen = one.measure(10)
    assert (seen.replaced, seen.sent, seen.answered) == (0.0, 10.0, 10.0)
    assert seen.age_p50 == pytest.approx(FRONT.batch + FRONT.answer + 0.004 + 0.001, rel=0.02)
    assert seen.busiest == pytest.approx(10 * (FRONT.receive + FRONT.batch + FRONT.answer))


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_is_somewhere(seed: int) -> None:
    """Answered, replaced, lost, or on its way; whatever fails and comes back."""
    random = Random(seed)
    habits = Habits(10, jitter=0.1, network=random.choice([0.0, 0.003]), notice=random.random())
    model = ModelTimes(4, {1: Spread((0.004,)), 4: Spread((0.009,))}, WAKE)
    many = world(model, nodes=3, workers=2, cameras=random.randrange(5, 400), habits=habits, seed=seed)
    for _step in range(30):
        many.run(random.random() / 2)
        match random.randrange(4):
            case 0:
                number = random.randrange(3)
                if many.nodes[number].alive:
                    many.fail(number)
            case 1:
                number = random.randrange(3)
                if not many.nodes[number].alive:
                    many.restore(number)
        counts = many.counts
        assert counts.sent == accounted(counts)
        assert min(counts.travelling, counts.waiting, counts.running) >= 0
    for number, node in enumerate(many.nodes):
        if not node.alive:
            many.restore(number)
    many.run(15)
    theirs = [camera for camera in many.cameras.all if many.events.now - camera.stream.answered < 2]
    assert len(theirs) == len(many.cameras.all), "a camera that is not answered any more"


def test_one_seed_one_result() -> None:
    model = ModelTimes(4, {1: Spread((0.004,)), 4: Spread((0.009,))}, WAKE)
    found = []
    for seed in (1, 1, 2):
        many = world(model, nodes=3, workers=2, cameras=90, habits=Habits(10, jitter=0.1), seed=seed)
        many.run(1)
        many.fail(0)
        found.append(many.measure(5))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(("cameras", "cost"), [(20, 50e-6), (200, 50e-6), (200, 2e-3)])
def test_what_is_held_and_done_does_not_grow(cameras: int, cost: float) -> None:
    """With time, or with a front end that does not keep up: four steps a frame at most, and bounded waiting."""
    front = FrontEndTimes(cost, 300e-6, 100e-6, 1e-3)
    one = world(fixed(0.02, 8), front, cameras=cameras)
    one.run(2)
    done, sent = one.events.done, one.counts.sent + one.counts.withheld
    for _second in range(5):
        one.run(1)
        assert len(one.events) <= cameras + 3
        assert one.counts.travelling <= MOST_TRAVELLING * cameras
        assert one.counts.waiting + one.counts.running <= 2 * cameras
    assert one.events.done - done <= 5 * (one.counts.sent + one.counts.withheld - sent) + 100


def test_a_node_that_fails_is_left_for_others() -> None:
    several = world(fixed(0.01, 8), nodes=3, workers=2, cameras=90, habits=Habits(10, notice=1.0))
    several.run(2)
    theirs = several.fail(1)
    several.run(0.9)
    assert not any(camera.stream.answered >= 0 for camera in theirs)
    several.run(2.0)  # noticed at 1.0, and tried again half a second later at most
    assert all(camera.stream.answered >= 0 and camera.node is not several.nodes[1] for camera in theirs)


def test_where_nobody_is_left_cameras_try_on() -> None:
    one = world(fixed(0.01), cameras=5)
    one.run(1)
    theirs = one.fail(0)
    one.run(30)
    one.restore(0)
    one.run(6)
    assert all(camera.stream.answered >= 0 for camera in theirs)


def test_spreads_are_drawn_as_they_were_measured() -> None:
    spread = Spread.of([number / 1000 for number in range(1000)])
    drawn, random = Histogram(), Random(1)
    for _time in range(20_000):
        drawn.add(spread.draw(random))
    for share in (0.1, 0.5, 0.9, 0.99):
        assert drawn.quantile(share) == pytest.approx(share, rel=0.05)
    between = ModelTimes(4, {2: Spread((2.0,)), 4: Spread((3.0,))}, WAKE)
    assert [between.draw(size, random) for size in (1, 2, 3, 4)] == [2.0, 2.0, 2.5, 3.0]


def test_parts_come_back_as_they_were_kept(tmp_path: Path) -> None:
    known = Parts(FRONT, {"it": ModelTimes(4, {1: Spread.of([0.1, 0.2])}, WAKE)}, "today")
    parts.save(known, tmp_path / "parts.json")
    assert parts.load(tmp_path / "parts.json") == known


def test_those_that_are_kept_can_be_read() -> None:
    assert {"pause", "lenet"} == parts.load().models.keys()


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    axis = chart.Axis("cameras", (1, 10, 100), logarithmic=True)
    path = tmp_path / "chart.svg"
    chart.write(path, "A <title>", axis, chart.Axis("ms", (0, 5, 10)), [chart.Series("it", [(1, 0), (100, 20)])])
    text = path.read_text()
    assert "A &lt;title&gt;" in text and "M62.0 278.0L624.0 36.0" in text
