"""When the log and the figures say that the disk of the pictures fails, and when that it works again."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Iterator
from unittest import mock

import pytest

from imageserver import metrics
from imageserver.errors import LimitExceeded, Refused
from imageserver.protocols.snap.keeper import Keeper
from imageserver.protocols.snap.pictures import ALL, LAST, NOBODY, Room, Slice
from imageserver.transport import hub
from imageserver.transport.threads import Threads

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


class Kept:
    """A keeper over a store that is played."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        metrics.DISK_FAILING.child("snippets").value = 0
        self.store = mock.Mock(copy=None, others=False)
        self.store.history.return_value = [mock.Mock(number=1)], None
        self.store.put.return_value = Room(more=False)
        self.store.delete.return_value = self.store.tidy.return_value = False
        self.keeper = Keeper(self.store, self.lines.append)

    def put(self) -> None:
        self.keeper.put(1, "png", b"", "", {}, NOBODY)

    @property
    def failing(self) -> float:
        return metrics.DISK_FAILING.child("snippets").value


def test_a_delete_that_works_ends_what_one_that_failed_began() -> None:
    kept = Kept()
    kept.store.delete.side_effect = sqlite3.OperationalError("disk I/O error")
    with pytest.raises(Refused):
        kept.keeper.delete(1)
    assert kept.failing == 1
    kept.store.delete.side_effect = None
    assert kept.keeper.delete(1)
    assert kept.failing == 0 and len(kept.lines) == 2


def test_a_delete_that_works_says_nothing_of_a_disk_that_takes_no_picture() -> None:
    kept = Kept()
    kept.store.put.side_effect = FULL
    with pytest.raises(Refused):
        kept.put()
    assert kept.keeper.delete(1)
    assert kept.failing == 1


def test_a_picture_with_nothing_over_the_limits_ends_what_tidying_began() -> None:
    kept = Kept()
    kept.store.tidy.side_effect = FULL
    kept.keeper._tidy()
    assert kept.failing == 1
    kept.put()
    assert kept.failing == 0 and kept.lines[-1].startswith("pictures can be kept again")


def test_a_descriptor_that_lacks_is_no_fault_of_the_disk() -> None:
    kept = Kept()
    kept.store.open.side_effect = OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(Refused, match="too many files open") as refused:
        kept.keeper.open(mock.Mock())
    assert refused.value.status == 503
    assert kept.failing == 0 and kept.lines == []


def test_what_other_servers_put_is_looked_for_every_few_seconds() -> None:
    kept = Kept()
    assert kept.keeper.changes == kept.keeper.changes == 0, "nobody else writes there"
    kept.store.others = True
    kept.store.newest.return_value = mock.Mock(rows=[])
    assert kept.keeper.changes == kept.keeper.changes == 1
    kept.put()
    assert kept.keeper.changes == 2
    kept.keeper.rows(10, ALL)
    assert 0 < kept.keeper._looked < 60
    kept.keeper._look_at, kept.keeper._looked = 0.0, 1.0
    assert kept.keeper.changes == 3
    assert 15 < kept.keeper._look_at - time.monotonic() <= 20, "what takes long is done more seldom"


def test_a_store_that_hangs_is_told_as_a_disk_that_fails(let_go: threading.Event) -> None:
    kept = Kept()
    kept.keeper = Keeper(kept.store, kept.lines.append, Threads("hangs", 2, 0.05))
    kept.store.put.side_effect = lambda *_picture: let_go.wait()
    with pytest.raises(Refused, match="cannot use the disk") as refused:
        kept.put()
    assert refused.value.status == 503 and kept.failing == 1
    assert kept.lines[0].startswith("pictures cannot be kept: TimeoutError: [Errno 110] its disk does not answer")


def test_a_thread_that_lacks_is_no_fault_of_the_disk() -> None:
    kept, threads = Kept(), Threads("pictures", 2, 0.05, "shared_jobs")
    kept.keeper = Keeper(kept.store, kept.lines.append, threads)
    for _ in range(2):
        threads._free.acquire()
    for call in (kept.put, lambda: kept.keeper.find(1), lambda: kept.keeper.delete(1)):
        with pytest.raises(LimitExceeded, match="too many are at the pictures"):
            call()
    assert kept.failing == 0 and kept.lines == []
    tidying = hub.spawn(kept.keeper._tidy)
    hub.sleep(0.1)
    assert tidying and not kept.store.tidy.called
    threads._free.release()
    tidying.wait()
    assert kept.store.tidy.called and kept.failing == 0, "what nobody waits for comes later"


def test_a_history_is_made_in_the_turn_of_a_list() -> None:
    kept = Kept()
    kept.store.others, kept.store.history.return_value = True, Slice([], None)
    kept.keeper = Keeper(kept.store, kept.lines.append, lists=4)
    with kept.keeper._turns.listing("address 1"):
        waiting = hub.spawn(kept.keeper.history, 1, LAST, 9, ALL, "address 1")
        hub.sleep(0)
        for call in (lambda: kept.keeper.history(1, LAST, 9, ALL, "address 1"), lambda: newest(kept, "address 1")):
            with pytest.raises(LimitExceeded, match="too many lists"):
                call()
        assert kept.keeper.find(1) is None, "a single picture needs no such turn"
        kept.store.history.reset_mock()
        hub.sleep(0.02)
        assert not kept.store.history.called
    waiting.wait()
    assert kept.store.history.called


def newest(kept: Kept, owner: str) -> object:
    return kept.keeper.newest(-1, 9, ALL, owner)
