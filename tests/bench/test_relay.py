"""The simulation of Redis in bench/simulation/relay: its laws, its limits in closed form, and what it is fed with."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bench.simulation import parts
from bench.simulation.events import Events
from bench.simulation.parts import FrontEndTimes, MessageTimes, ModelTimes, Parts, RelayTimes, Spread
from bench.simulation.relay import broker, figures, measuring
from bench.simulation.relay.full import full, load, period
from bench.simulation.relay.outage import outage
from bench.simulation.relay.threads import BRISK, DROWSY, Steps, Task, Thread
from bench.simulation.relay.world import Setup, World

from imageserver.limits import Limits
from imageserver.peers import front_ends, messages, telling
from imageserver.peers.redis import connection

TIMES = RelayTimes(
    word=MessageTimes(150, 7e-6, 1e-6, 250e-6, 200e-6),
    text=MessageTimes(190, 7e-6, 1e-6, 280e-6, 230e-6),
    rows=MessageTimes(12_000, 12e-6, 2e-6, 700e-6, 500e-6),
    new=1000e-6, many=290e-6, tell_process=550e-6, tell_loop=800e-6, rest_process=0.002, rest_loop=0.001,
    rest_redis=0.003, wake_process=0.0, wake_loop=0.0, wake_redis=0.0, measured="",
)  # fmt: skip


def world(number: int, cameras: int, times: RelayTimes = TIMES, **changes: Any) -> World:
    return World(times, Setup(number, cameras, **changes))


# ---- steps --------------------------------------------------------------------------------------------------------


def test_a_thread_does_one_thing_after_the_other_and_what_is_urgent_first() -> None:
    events, done = Events(), []
    thread = Thread(events)
    for name, urgent in (("first", False), ("second", False), ("urgent", True)):
        thread.do(1.0, lambda name=name: done.append((name, events.now)), urgent=urgent)
    events.run(10.0)
    assert done == [("first", 1.0), ("urgent", 2.0), ("second", 3.0)]
    assert thread.busy == 3.0 and not len(thread)


def test_who_has_rested_takes_longer() -> None:
    events, thread_wake = Events(), 0.001
    thread = Thread(events, thread_wake)
    expected = 0.0
    for pause, longer in ((0.0, 0.0), (BRISK, 0.0), ((BRISK + DROWSY) / 2, 0.5), (DROWSY, 1.0), (10.0, 1.0)):
        events.run(events.now + pause)
        thread.do(0.002, lambda: None)
        events.run(events.now + 0.002 + longer * thread_wake)
        expected += 0.002 + longer * thread_wake
        assert thread.busy == pytest.approx(expected), pause


def test_a_task_that_is_woken_does_not_go_on_twice() -> None:
    events, at = Events(), []

    def steps() -> Steps:
        while True:
            at.append(events.now)
            yield 5.0

    task = Task(events, steps())
    events.after(2.0, task.wake)
    events.run(11.0)
    assert at == [0.0, 2.0, 7.0]


# ---- while nothing fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "cameras"), [(2, 0), (2, 1), (3, 50), (4, 51), (10, 335), (3, 5000)])
def test_what_is_worked_is_what_is_said_times_who_hears_it(number: int, cameras: int) -> None:
    """In closed form, over as long as 20 lists take."""
    one = world(number, cameras)
    one.run(3 * period(cameras))
    assert one.known == 1.0
    busy, expected = one.measure(20 * period(cameras)), load(TIMES, number, cameras)
    for name in ("redis", "out", "process", "loop"):
        assert getattr(busy, name) == pytest.approx(getattr(expected, name), rel=0.02), name


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(telling, "CYCLE", 4.0), (telling, "RATE", 200), (front_ends, "EVERY", 0.5)],
)
def test_times_are_those_of_the_code(
    module: ModuleType, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(TIMES, 5, 335)
    monkeypatch.setattr(module, name, value)
    one = world(5, 335)
    one.run(10.0)
    assert one.measure(20 * period(335)).process == pytest.approx(load(TIMES, 5, 335).process, rel=0.02)
    assert load(TIMES, 5, 335).process != pytest.approx(before.process, rel=0.04)


def test_every_text_is_heard_by_all_others() -> None:
    one = world(5, 10, texts=50.0)
    one.run(30.0)
    before = one.unheard  # said before all were connected, or on its way
    one.run(60.0)
    assert one.counts["texts said"] == pytest.approx(90 * 50, rel=0.1)
    assert abs(one.unheard - before) <= 4 * 3


def test_more_texts_than_are_allowed_are_dropped() -> None:
    limits = Limits(redis_text_bytes=64 * 2**10)  # 64 a second, each counted as a kilobyte
    one = world(2, 1, texts=400.0, limits=limits)
    one.run(10.0)
    heard = one.counts["texts heard"]
    one.run(20.0)
    assert (one.counts["texts heard"] - heard) / 20 == pytest.approx(2 * 64, rel=0.05)
    assert one.known == 1.0, "lists have a bound of their own"


def test_what_is_new_costs_more_than_what_is_known_once() -> None:
    busy = []
    for longer in (0.0, 0.01):
        one = world(3, 500, replace(TIMES, new=TIMES.rows.loop + longer))
        one.run(10.0)
        assert one.known == 1.0
        busy.append(sum(each.loop.busy for each in one.front_ends))
    assert busy[1] - busy[0] == pytest.approx(3 * 2 * 500 / 50 * 0.01, rel=0.1)  # some is told twice before it is heard


# ---- bounds -------------------------------------------------------------------------------------------------------


def test_no_more_streams_are_known_than_may_be() -> None:
    one = world(4, 100, limits=Limits(redis_streams=170))
    one.run(20.0)
    assert [each.known.rows for each in one.front_ends] == [170] * 4
    assert one.since == math.inf


def test_no_more_front_ends_are_known_than_may_be() -> None:
    one = world(front_ends.MOST + 3, 1)
    one.run(10.0)
    assert [each.known.rows for each in one.front_ends] == [front_ends.MOST] * len(one.front_ends)
    assert one.counts["too many"] > 0
    assert world(front_ends.MOST + 1, 1).since == math.inf


def test_more_than_redis_bytes_is_dropped() -> None:
    one = world(20, 335, limits=Limits(redis_bytes=2**19))
    one.run(20.0)
    assert one.counts["over the bound"] > 0
    one = world(20, 335)
    one.run(20.0)
    assert not one.counts["over the bound"] and one.known == 1.0


def test_who_reads_too_slowly_is_thrown_out_when_the_bound_says_so() -> None:
    """A network that carries half of what is said: behind grows by the other half, and 8 MiB are borne for 60 s."""
    out = load(TIMES, 10, 335).out
    one = world(10, 335, network=out / 2)
    when = broker.SOFT / (out / 2 / 10) + broker.SOFT_SECONDS
    one.run(when * 0.95)
    assert one.redis.thrown_out == 0
    assert one.redis.network.busy == pytest.approx(one.events.now, rel=0.05)
    assert max(each.behind for each in one.front_ends) < broker.HARD
    one.run(when * 0.1)
    assert one.redis.thrown_out >= 10


def test_who_does_not_read_at_all_is_thrown_out_at_once() -> None:
    slow = replace(TIMES.rows, process=1e6, size=5 * 2**20)
    one = world(3, 100, replace(TIMES, rows=slow))
    one.run(30.0)
    assert one.redis.thrown_out > 0
    assert max(each.behind for each in one.front_ends) <= broker.HARD


def test_a_redis_that_does_not_answer_in_time_is_left() -> None:
    """Each message takes its thread a second, so answers come later than a connection waits."""
    one = world(5, 50, replace(TIMES, rows=replace(TIMES.rows, redis=1.0)))
    one.run(30.0)
    assert one.counts["unanswered"] > 0
    assert max(each.connection for each in one.front_ends) > 1


# ---- Redis is gone ------------------------------------------------------------------------------------------------


def test_while_it_is_gone_nobody_hears_a_text_and_then_all_do() -> None:
    gone = outage(TIMES, Setup(6, 120, texts=100.0), seconds=30.0)
    latest = connection.PAUSES[1] * 1.5
    assert 0 < gone.connected <= latest + 0.1
    assert 30.0 * 0.9 < gone.texts_lost < (30.0 + gone.connected) * 1.1
    assert gone.connected <= gone.whole <= gone.connected + telling.APART + telling.SOON + 2 * telling.CYCLE
    assert (gone.known, gone.thrown_out) == (1.0, 0)


def test_what_is_silent_for_long_is_forgotten_and_not_before() -> None:
    silence = Limits().redis_silence
    one = world(4, 60)
    one.run(10.0)
    one.redis.fail()
    one.run(silence - front_ends.EVERY - 0.1)
    assert one.known == 1.0
    one.run(3 * front_ends.EVERY)
    assert one.known == 0.0 and one.since == math.inf
    one.redis.come_back()
    one.run(10.0)
    assert one.known == 1.0


def test_it_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(1, 1)
    one.run(20.0)
    tried = []
    found = one.front_ends[0]
    real = found.connect
    monkeypatch.setattr(found, "connect", lambda: (tried.append(one.events.now), real()))
    one.redis.fail()
    one.run(60.0)
    pauses = [later - earlier for earlier, later in zip([20.0, *tried], tried, strict=False)]
    first, most = connection.PAUSES
    means = [first, first, 2 * first, 4 * first, *[most] * len(pauses)]
    assert len(tried) > 20
    assert all(0.5 * mean <= pause <= 1.5 * mean for pause, mean in zip(pauses, means, strict=False))


def test_what_comes_again_and_again_is_the_same_for_the_same_seed() -> None:
    setup = Setup(5, 70, texts=20.0, seed=3)
    assert outage(TIMES, setup) == outage(TIMES, setup)
    assert outage(TIMES, setup) != outage(TIMES, replace(setup, seed=4))


@pytest.mark.parametrize("seed", range(5))
def test_whatever_fails_and_comes_back_what_is_known_was_told(seed: int) -> None:
    one = world(4, 130, texts=30.0, seed=seed)
    random = one._random
    for _step in range(20):
        one.run(random.random() * 4)
        (one.redis.fail if random.random() < 0.5 else one.redis.come_back)()
        assert 0.0 <= one.known <= 1.0
        assert one.unheard >= 0
        assert all(each.behind >= 0 for each in one.front_ends)
        assert (one.since < math.inf) == (one.known == 1.0)
    one.redis.come_back()
    one.run(15.0)
    assert one.known == 1.0


# ---- what is full first --------------------------------------------------------------------------------------------


def test_what_is_full_is_so_from_where_its_formula_says() -> None:
    found = full(TIMES, 335, planned=0.65)
    assert list(found.values()) == sorted(found.values())
    limits = Limits()
    assert found[f"other front ends ({front_ends.MOST})"] == front_ends.MOST + 2
    assert found[f"`--redis-streams` ({limits.redis_streams:,})"] == limits.redis_streams // 335 + 2
    for gigabits in (1, 10):
        number = found[f"the network of Redis, {gigabits} Gbit/s"]
        assert load(TIMES, number - 1, 335).out * 8 <= gigabits * 1e9 < load(TIMES, number, 335).out * 8
    number = found["the thread of Redis"]
    assert load(TIMES, number - 1, 335).redis <= 1.0 < load(TIMES, number, 335).redis


def test_figures_become_tables_and_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "NUMBERS", (3,))
    monkeypatch.setattr(figures, "NARROW", (4,))
    found = figures.find(TIMES, 0.65, cameras=60)
    text = "\n".join(figures.tables(found))
    assert "| 3 | 180 |" in text and "| 4 | 1 Gbit/s |" in text and "never" not in text
    figures.draw(found, tmp_path / "redis.svg")
    assert "front ends" in (tmp_path / "redis.svg").read_text()


# ---- what it is fed with -------------------------------------------------------------------------------------------


def test_each_half_of_the_parts_leaves_the_other_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    spread = Spread((0.001,))
    known = Parts(FrontEndTimes(1e-4, 1e-3, 1e-5, 1e-3), {"it": ModelTimes(1, {1: spread}, spread)}, "today")
    for _time in range(2):
        parts.save(known, path)
        parts.save_relay(TIMES, path)
    parts.save(replace(known, measured="tomorrow"), path)
    assert parts.load_relay(path) == TIMES
    parts.save_relay(replace(TIMES, new=0.5), path)
    assert parts.load(path) == replace(known, measured="tomorrow")
    assert parts.load_relay(path).new == 0.5


def test_what_is_kept_can_be_read_and_is_as_one_would_think() -> None:
    times = parts.load_relay()
    assert times.word.size < times.text.size < times.rows.size
    for one in (times.word, times.text, times.rows):
        assert 0 < one.each < one.redis < one.loop < 0.01
    assert times.many < times.rows.loop < times.new < 0.01


def test_what_is_measured_with_is_what_front_ends_say() -> None:
    said = measuring.lists(7, cycle=2, cameras=120)
    assert [len(messages.encode("rows", "a", "b", rows=[])) < len(text) for _channel, text in said] == [True] * 3
    for channel, text in (*said, measuring.word(1), measuring.text(1)):
        heard = messages.read(channel, text.encode(), 0)
        assert isinstance(heard, messages.Heard) and not heard.dropped
    rows = [messages.read(*each, 0) for each in ((channel, text.encode()) for channel, text in said)]
    found = [(len(each.said["rows"]), each.said["piece"], each.said["pieces"]) for each in rows]  # type: ignore[union-attr]
    assert found == [(50, 1, 0), (50, 2, 0), (20, 3, 3)]
