"""Threads for what may never come back: few, waited for within bounds, refused where many hang."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from imageserver import metrics
from imageserver.errors import LimitExceeded, TimedOut
from imageserver.transport import hub
from imageserver.transport.threads import Threads, overdue

SHORT = 0.05


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_call_gives_its_result_or_its_error() -> None:
    threads = Threads("test", 2, 5.0)
    assert threads.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.call(divmod, 7, 0)
    name = threads.call(lambda: threading.current_thread().name)
    assert name == "test" and threads.call(threading.get_ident) != threading.get_ident()


def test_calls_run_side_by_side_up_to_their_number(let_go: threading.Event) -> None:
    threads, running, most = Threads("test", 3, 5.0), set[int](), list[int]()

    def run() -> None:
        running.add(threading.get_ident())
        most.append(len(running))
        let_go.wait(0.02)
        running.discard(threading.get_ident())

    for task in [hub.spawn(threads.call, run) for _ in range(9)]:
        task.wait()
    assert max(most) == 3


def test_the_loop_goes_on_meanwhile(let_go: threading.Event) -> None:
    threads = Threads("test", 1, 60.0)
    task = hub.spawn(threads.call, let_go.wait)
    hub.sleep(SHORT)
    hub.spawn(let_go.set)
    assert task.wait()


def test_who_waits_too_long_is_told_and_others_do_not_wait_for_it(let_go: threading.Event) -> None:
    threads = Threads("test", 4, SHORT)
    with pytest.raises(TimedOut):
        threads.call(let_go.wait)
    assert threads.call(divmod, 7, 2) == (3, 1)


def test_what_comes_too_late_knows_it(let_go: threading.Event) -> None:
    threads, known = Threads("test", 4, SHORT), list[bool]()

    def hang() -> None:
        known.append(overdue())
        let_go.wait()
        known.append(overdue())

    with pytest.raises(TimedOut):
        threads.call(hang)
    assert not threads.call(overdue) and not overdue()
    let_go.set()
    for _ in range(1000):
        if len(known) == 2:
            break
        hub.sleep(0.005)
    assert known == [False, True]
    assert not threads.call(overdue), "the next one in that thread is another"


def test_where_others_have_all_of_them_that_is_what_is_said() -> None:
    threads, hits = Threads("folder", 2, SHORT, "shared_jobs"), metrics.LIMITS_HIT.child("shared-jobs")
    before = hits.value
    for _ in range(2):
        threads._free.acquire()
    with pytest.raises(LimitExceeded, match="too many are at the folder at this moment"):
        threads.call(divmod, 7, 2)
    assert hits.value == before + 1
    threads._free.release()
    assert threads.call(divmod, 7, 2) == (3, 1)


def test_who_has_waited_for_a_thread_has_all_of_the_time_for_what_it_does(let_go: threading.Event) -> None:
    threads = Threads("test", 1, 0.5)
    threads._free.acquire()
    hub.spawn_later(0.4, threads._free.release)
    assert not threads.call(let_go.wait, 0.3)


def test_where_half_of_them_hang_a_call_is_refused_at_once_until_they_are_back(let_go: threading.Event) -> None:
    threads = Threads("hang", 4, SHORT)
    for _ in range(2):
        with pytest.raises(TimedOut):
            threads.call(let_go.wait)
    begun = time.monotonic()
    for _ in range(1000):
        with pytest.raises(TimedOut):
            threads.call(divmod, 7, 2)
    assert time.monotonic() - begun < 100 * SHORT
    assert sum(thread.name == "hang" for thread in threading.enumerate()) == 2
    let_go.set()
    for _ in range(1000):
        with contextlib.suppress(TimedOut):
            assert threads.call(divmod, 7, 2) == (3, 1)
            return
        hub.sleep(0.005)
    raise AssertionError("nothing came back")
