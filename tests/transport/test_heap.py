"""Memory that was freed is the system's again, also where it lies scattered in the heap."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from imageserver.transport.memory import GROWN, Heap

MIB = 2**20


class Process:
    """A process of some size, which shrinks to another one when its heap is trimmed."""

    size, least, trimmed = 80 * MIB, 80 * MIB, 0

    def resident(self) -> int:
        return self.size

    def trim(self) -> None:
        self.trimmed += 1
        self.size = self.least


def test_the_heap_is_trimmed_when_the_process_has_grown() -> None:
    process = Process()
    heap = Heap(process.resident, process.trim)
    for grown, trimmed in ((0, 0), (GROWN, 0), (GROWN + 1, 1), (GROWN, 1), (40 * MIB, 2)):
        process.size = 80 * MIB + grown
        heap.look()
        assert process.trimmed == trimmed, grown


def test_what_is_in_use_is_not_trimmed_for_again_and_again() -> None:
    process = Process()
    heap = Heap(process.resident, process.trim)
    heap.look()
    process.size = process.least = 300 * MIB
    for _ in range(5):
        heap.look()
    assert process.trimmed == 1


def test_a_process_that_has_become_smaller_is_measured_by_that() -> None:
    process = Process()
    heap = Heap(process.resident, process.trim)
    for size in (80, 60, 80):
        process.size = size * MIB
        heap.look()
    assert process.trimmed == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_scattered_memory_goes_back() -> None:
    """In the test's own process: of 60 MB in small pieces, a twentieth stays."""
    heap = Heap()
    heap.look()
    pieces = [bytes(600) for _ in range(100_000)]
    kept = pieces[::20]
    full = int(Path("/proc/self/statm").read_text().split()[1])
    del pieces
    heap.look()
    after = int(Path("/proc/self/statm").read_text().split()[1])
    assert (full - after) * os.sysconf("SC_PAGE_SIZE") > 20 * MIB
    assert len(kept) == 5000
