"""Lines of one kind from one address are summed up."""

from __future__ import annotations

import logging
import queue

import pytest

from imageserver.app import logs, repeats
from imageserver.app.repeats import LINES, Repeats, shortened


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(name: str, address: str) -> str:
    return f"login of {name!r} from {address} refused: unknown name or wrong password"


def test_what_goes_beyond_is_summed_up_when_the_minute_is_over(clock: Clock) -> None:
    lines = Repeats(clock)
    passed = [lines.passes(refused(f"guess {number}'s", "1.2.3.4")) for number in range(LINES + 312)]
    assert passed == [True] * LINES + [False] * 312
    assert lines.passes(refused("other", "1.2.3.5")), "another address has its own lines"
    assert lines.passes("1.2.3.4 did not finish its TLS handshake within 10 seconds"), "so has another kind"
    clock.now += 59
    assert lines.sums() == []
    clock.now += 2
    last = refused(f"guess {LINES + 311}'s", "1.2.3.4")
    assert lines.sums() == [f"… and 312 more of the kind from 1.2.3.4 in the last minute; the last: {last}"]
    assert lines.passes(refused("again", "1.2.3.4"))
    assert lines.sums() == []


@pytest.mark.parametrize(
    "line",
    [
        "client {id} of 1.2.3.4 is disconnected: its packet is no Socket.IO (Expecting value: line 1 column {n})",
        "the origin {name!r} of 1.2.3.4 was refused; --cors-origin would allow it",
        "the host {name!r} that a browser at 1.2.3.4 asked for was refused; --server-name adds it",
        "a request of 1.2.3.4 was refused: A request body may have {n} bytes. (--max-body-bytes)",
        "{n} sessions are open; one more, of 1.2.3.4, was refused (--max-connections)",
        "login of {name!r} from 2001:db8::{n} refused: unknown name or wrong password",
        "login of {name!r} from ::ffff:1.2.3.4 refused: unknown name or wrong password",
        "port 8080 cannot accept a connection: Too many open files; {n} are open",
    ],
)
def test_numbers_ids_and_what_stands_in_quotes_make_no_kind(clock: Clock, line: str) -> None:
    lines = Repeats(clock)
    passed = [
        lines.passes(line.format(id=f"{number:020d}", n=number, name=f"it's \" 9.9.9.{number}"))
        for number in range(LINES + 5)
    ]
    assert passed.count(True) == LINES
    [sum_of_them] = lines.sums(all_of_them=True)
    assert sum_of_them.startswith("… and 5 more of the kind")


def test_lines_without_an_address_differ_in_what_stands_in_quotes(clock: Clock) -> None:
    lines = Repeats(clock)
    assert all(lines.passes(f"the model {name!r} cannot be loaded") for name in map(chr, range(97, 123)))


def test_one_address_cannot_make_kinds_without_end(clock: Clock) -> None:
    lines = Repeats(clock)
    passed = sum(lines.passes(f"1.2.3.4 sent {'x' * number}") for number in range(1, 19) for _ in range(20))
    assert passed == LINES * (repeats.MOST_KINDS + 1)


def test_addresses_are_kept_only_so_many(clock: Clock) -> None:
    lines = Repeats(clock)
    for number in range(3000):
        lines.passes(refused("x", f"10.0.{number // 250}.{number % 250}"))
        lines.sums()
    assert len(lines._sources) <= repeats.MOST_ADDRESSES + 1


def test_a_long_line_is_cut() -> None:
    assert shortened("x" * 4096) == "x" * 4096
    assert shortened("x" * 9000) == "x" * 4096 + "… (9000 characters)"


def test_warnings_alone_are_summed_up_and_at_the_end_nothing_is_lost(clock: Clock) -> None:
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = logs._Handler(waiting, clock)

    def log(level: int) -> int:
        for number in range(LINES + 3):
            made = logging.LogRecord("x", level, "", 0, "line %s of 1.2.3.4" + "!" * 5000, (number,), None)
            handler.handle(made)
        return waiting.qsize()

    assert log(logging.INFO) == LINES + 3
    assert log(logging.WARNING) == LINES * 2 + 3
    handler.sum_up(all_of_them=True)
    lines = [waiting.get().getMessage() for _ in range(waiting.qsize())]
    assert lines[-1].startswith("… and 3 more of the kind from 1.2.3.4 in the last minute; the last: line 12 of")
    assert max(map(len, lines)) < 4200
