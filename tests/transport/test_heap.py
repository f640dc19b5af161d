"""Memory that was freed is the system's again, also where it lies scattered in the heap."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from imageserver.transport.memory import FREED, Heap


def test_the_heap_is_trimmed_when_much_of_it_was_freed() -> None:
    times = iter((FREED, 9 * FREED, 8 * FREED, 8 * FREED - 1, 8 * FREED - 2, 7 * FREED - 2, 10 * FREED, 0, 0))
    trimmed = []
    heap = Heap(lambda: next(times), lambda: trimmed.append(times.__length_hint__()))
    for _ in range(9):
        heap.look()
    assert trimmed == [5, 3, 1]  # looks that were still to come


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_scattered_memory_goes_back() -> None:
    """In the test's own process: of 60 MB in small pieces, a twentieth stays."""
    heap = Heap()
    pieces = [bytes(600) for _ in range(100_000)]
    heap.look()
    kept = pieces[::20]
    full = int(Path("/proc/self/statm").read_text().split()[1])
    del pieces
    heap.look()
    after = int(Path("/proc/self/statm").read_text().split()[1])
    assert (full - after) * os.sysconf("SC_PAGE_SIZE") > 20e6
    assert len(kept) == 5000
