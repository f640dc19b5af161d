"""A picture's place in the shared folder: none for one that was refused, and one for each that can be taken."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.protocols.snap.test_shared import content, files, fill, ids, shared, store
from tests.running import PATIENCE

from imageserver import files as server_files
from imageserver.errors import TimedOut
from imageserver.protocols.snap.pictures import LAST
from imageserver.protocols.snap.shared import store as shared_store
from imageserver.protocols.snap.shared.store import SharedStore
from imageserver.transport import hub
from imageserver.transport.threads import Threads

__all__ = ["shared"]


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def hang(module: Any, name: str, let_go: threading.Event, patch: pytest.MonkeyPatch) -> None:
    """Have the next call of a function wait when it has done what it does, as a disk does that goes away."""
    does = getattr(module, name)

    def once(*args: Any) -> Any:
        patch.setattr(module, name, does)
        done = does(*args)
        let_go.wait(PATIENCE)
        return done

    patch.setattr(module, name, once)


def until_back(threads: Threads) -> None:
    end = time.monotonic() + PATIENCE
    while threads._overdue:
        assert time.monotonic() < end
        hub.sleep(0.005)


# ---- a disk that hangs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False], ids=["a number that is there", "a new number"])
@pytest.mark.parametrize("where", [(shared_store, "_write"), (server_files, "sync")], ids=["as it is written", "later"])
def test_what_was_refused_for_time_does_not_come_behind_what_was_kept_since(
    shared: Path, let_go: threading.Event, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str], before: bool
) -> None:
    a, b, threads = store(shared), store(shared), Threads("hangs", 4, 0.1)
    fill(b, range(1, 3 if before else 2), identity=1 if before else 2)
    hang(*where, let_go, monkeypatch)
    with pytest.raises(TimedOut):
        threads.call(a.put, 1, "png", b"refused", "t", {})
    b.put(1, "png", b"kept", "t", {})
    let_go.set()
    until_back(threads)
    assert content(b, 1) == b"kept" and content(a, 1) == b"kept"
    assert len(files(shared)) == (1 if before else 2), "nothing is left of it, nor was anything removed for it"
    assert not list((shared / "snippets/incoming").iterdir())


def test_nothing_is_changed_any_more_for_who_was_told_that_it_failed(shared: Path) -> None:
    late = [False]
    a = SharedStore(shared, history=2, max_bytes=2**20, max_files=10, overdue=lambda: late[0])
    fill(a, range(3), identity=1)
    store(shared, history=9).put(1, "png", b"one more", "t", {})
    late[0] = True
    calls = (
        lambda: fill(a, range(1), identity=1),
        lambda: fill(a, range(2, 3)),
        lambda: a.delete(1, LAST),
        lambda: a.tidy(1),
    )
    for call in calls:
        with pytest.raises(OSError, match="it came too late") as raised:
            call()
        assert raised.value.errno == errno.ETIMEDOUT
    assert ids(a) == [1] and len(files(shared)) == 3 and content(a, 1) == b"one more"
    late[0] = False
    a.tidy(1)
    assert len(files(shared)) == 2
