"""Every parser, fed by chance for a moment: what `make fuzz` does for as long as one likes."""

from __future__ import annotations

import itertools
import time
from random import Random

import pytest
from tests.fuzz import growth, table
from tests.fuzz.mutate import some_input
from tests.fuzz.target import Target, check, check_memory

SECONDS = 10.0
"""Of the processor, for all targets together; the same inputs each time, and as many of them as there is time for."""

MOST = 2**14
"""Bytes of what grows; `make fuzz` lets it grow to each parser's own limit."""

FOUND = table.all_targets()
each = pytest.mark.parametrize("name", FOUND)


def target_of(name: str) -> Target:
    return FOUND[name][1]


@each
def test_what_found_something_once_finds_nothing_now(name: str) -> None:
    target = target_of(name)
    for data in [*target.seeds, *table.kept(target)]:
        check(target, data)
        check_memory(target, data)


@pytest.mark.slow
@each
def test_inputs_by_chance(name: str) -> None:
    target, random = target_of(name), Random(name)
    corpus = [*target.seeds, *table.kept(target)]
    end = time.thread_time() + 0.6 * SECONDS / len(FOUND)
    for number in itertools.count():
        if time.thread_time() >= end:
            break
        data = some_input(target, random, corpus)
        check(target, data)
        if number % 64 == 0:
            check_memory(target, data)


@pytest.mark.slow
@each
def test_twice_the_bytes_do_not_take_four_times_as_long(name: str) -> None:
    target = target_of(name)
    patterns = list(growth.patterns(target))
    Random(name).shuffle(patterns)
    end = time.thread_time() + 0.4 * SECONDS / len(FOUND)
    for pattern in patterns:
        if time.thread_time() >= end:
            break
        growth.check_growth(target, pattern, min(MOST, target.longest))


def test_every_corpus_is_of_a_target() -> None:
    assert {path.name for path in table.CORPUS.iterdir() if path.is_dir()} <= FOUND.keys()
