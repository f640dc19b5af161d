"""Memory that was freed is the system's again, also where it lies scattered in the heap."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import pytest

from imageserver.transport import hub, memory
from imageserver.transport.memory import FREED, TRIM_AGAIN, Heap


def test_the_heap_is_trimmed_when_much_of_it_is_free() -> None:
    """Measured from what was left the last time, however short the time in which the rest was in use."""
    spare = 3 * FREED
    trimmed = []

    def trim() -> None:
        nonlocal spare
        trimmed.append(spare)
        spare = 2 * FREED  # more cannot be returned

    heap = Heap(lambda: spare, trim)
    for found in (3 * FREED, 4 * FREED, 4 * FREED + 1, 3 * FREED, 3 * FREED + 1, FREED, 2 * FREED, 2 * FREED + 1):
        spare = found
        heap.look()
    assert trimmed == [4 * FREED + 1, 3 * FREED + 1, 2 * FREED + 1]


def test_what_lay_between_ends_later_so_there_is_more_to_return_then() -> None:
    spare, looks, trimmed = FREED, 0, []
    heap = Heap(lambda: spare, lambda: trimmed.append(looks))
    heap.look()
    for looks in range(100):
        spare = 3 * FREED if looks in (10, 12) else FREED
        heap.look()
    assert trimmed == [10, 12, *(12 + more for more in TRIM_AGAIN)]


def test_where_it_cannot_look_for_want_of_a_descriptor_it_looks_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TRIM_EVERY", 0.001)
    looked = hub.Event()

    def spare() -> int:
        if not tries:
            tries.append(1)
            raise OSError(24, "Too many open files")
        looked.set()
        return 0

    tries: list[int] = []
    thread = hub.spawn(Heap(spare, lambda: None).run)
    assert looked.wait(10)
    thread.kill()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_what_was_in_use_between_two_looks_goes_back() -> None:
    """In the test's own process: 60 MB in small pieces, of which a twentieth stays."""
    heap = Heap()
    ctypes.CDLL(None).malloc_trim(0)  # what other tests have freed would be used again
    heap.look()
    pieces = [bytes(600) for _ in range(100_000)]
    kept = pieces[::20]
    full = own_pages()
    del pieces
    heap.look()
    assert (full - own_pages()) * os.sysconf("SC_PAGE_SIZE") > 20e6
    assert len(kept) == 5000


def own_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])
