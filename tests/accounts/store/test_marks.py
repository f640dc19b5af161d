"""When something was last used is written by one thread, in one piece, and not tried over and over in vain."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from imageserver.accounts.store.marks import Mark, Marks
from imageserver.errors import UsersUnavailable

TOKEN, OTHER = ("tokens", "1"), ("pages", "2")


def test_what_comes_while_a_write_goes_on_is_written_with_the_next() -> None:
    written: list[dict[Mark, float]] = []
    begun, go_on = threading.Event(), threading.Event()

    def write(marks: Mapping[Mark, float]) -> None:
        written.append(dict(marks))
        begun.set()
        go_on.wait(30)

    marks = Marks(write)
    marks.note(TOKEN, 1.0)
    assert begun.wait(30)
    before = threading.active_count()
    for when in (2.0, 3.0):
        marks.note(TOKEN, when)
        marks.note(OTHER, when)
    assert threading.active_count() == before
    go_on.set()
    marks.settle()
    assert written == [{TOKEN: 1.0}, {TOKEN: 3.0, OTHER: 3.0}]
    marks.note(TOKEN, 4.0)
    marks.settle()
    assert written[2:] == [{TOKEN: 4.0}]


def test_after_a_failure_nothing_is_tried_for_a_minute() -> None:
    now, tried = [100.0], []

    def write(marks: Mapping[Mark, float]) -> None:
        tried.append(dict(marks))
        if len(tried) == 1:
            raise UsersUnavailable("it is for reading alone")

    marks = Marks(write, clock=lambda: now[0])
    marks.note(TOKEN, 1.0)
    marks.settle()
    now[0] += 59.9
    for when in (2.0, 3.0):
        marks.note(OTHER, when)
        marks.settle()
    assert tried == [{TOKEN: 1.0}]
    now[0] += 0.1
    marks.note(TOKEN, 4.0)
    marks.settle()
    assert tried[1:] == [{OTHER: 3.0, TOKEN: 4.0}]
