"""A picture's place in the shared folder: none for one that was refused, and one for each that can be taken."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.protocols.snap.test_shared import check, content, count, files, fill, ids, in_threads, shared, store
from tests.running import PATIENCE

from imageserver import files as server_files
from imageserver.accounts.database import User
from imageserver.errors import Refused, TimedOut
from imageserver.protocols.snap import rights
from imageserver.protocols.snap.keeper import Keeper
from imageserver.protocols.snap.pictures import LAST, Row, Sender
from imageserver.protocols.snap.shared import store as shared_store
from imageserver.protocols.snap.shared.folder import FIRST
from imageserver.protocols.snap.shared.store import SharedStore
from imageserver.transport import hub
from imageserver.transport.threads import Threads

__all__ = ["shared"]

Harm = Callable[[Path], None]


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


# ---- what cannot be read -----------------------------------------------------------------------------------------


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def later(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"picture 1 ", b"picture 2 "))


@pytest.mark.parametrize("harm", [half, later], ids=["half", "of a later form"])
def test_a_number_whose_files_cannot_be_read_takes_the_next_picture(shared: Path, harm: Harm) -> None:
    a, b = store(shared, history=2), store(shared, history=2)
    fill(a, range(2), b"x" * 1000, identity=1)
    last = a.history(1).rows[0].number
    for path in files(shared):
        harm(path)
    assert b.history(1) == ([], None) and b.unreadable(1) == last
    fill(b, range(1), b"new", identity=1)
    assert content(a, 1) == b"new" and a.history(1).rows[0].number == last + 1
    assert a.unreadable(1) == 0, "there is one that can be"


def test_of_two_that_race_for_a_number_that_cannot_be_read_one_gets_it(shared: Path) -> None:
    stores = [store(shared), store(shared)]
    for number in range(8):
        fill(stores[0], range(number, number + 1), b"x" * 100)
        half(stores[0]._folder.path(number, stores[0].history(number).rows[0].number))
    race(shared, stores)


def test_a_number_that_cannot_be_read_is_forgotten_by_who_may_see_all(shared: Path) -> None:
    a, lines = store(shared), list[str]()
    keeper = Keeper(a, lines.append)
    assert a.unreadable(1) == 0 and not keeper.delete(1)
    fill(a, range(1, 3), b"x" * 1000)
    for path in files(shared):
        half(path)
    assert keeper.find(1) is None and keeper.delete(1)
    assert [path.parent.name for path in files(shared)] == ["2"]
    assert a.unreadable(1) == 0 and a.unreadable(2) and not keeper.delete(1)
    rights.check_unreadable(None, 2)
    rights.check_unreadable(User("ann", frozenset({"viewer"})), 2)
    for user in (User("eve", frozenset({"camera"})), User("cook", frozenset({"viewer"}), only=("kitchen",))):
        with pytest.raises(Refused, match="there is no picture 2"):
            rights.check_unreadable(user, 2)


def test_what_is_gone_is_not_what_cannot_be_read(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that a network remembers names what others have removed."""
    a = store(shared)
    fill(a, range(1, 2))
    number = a.history(1).rows[0].number
    monkeypatch.setattr(a._folder, "numbers", lambda _identity: [number + 1])
    assert a.unreadable(1) == 0
    with pytest.raises(OSError, match="others put pictures under the number 1") as raised:
        fill(a, range(1), identity=1)
    assert raised.value.errno == errno.EBUSY and len(files(shared)) == 1


# ---- a folder with something that is none of ours ----------------------------------------------------------------


def emptied(one: SharedStore, *numbers: int) -> None:
    """Numbers whose folder has no picture, and cannot be removed."""
    for number in numbers:
        one._there()
        place = one._folder.of(number)
        place.mkdir(parents=True)
        (place / ".nfs0000000000").touch()


def race(shared: Path, stores: list[SharedStore]) -> None:
    """Two users at two servers each want numbers that nobody has."""
    for number in range(8):
        raised = in_threads(
            *(
                lambda who=who, one=one, number=number: one.put(
                    number, "png", who.encode(), "t", {}, Sender(who, check=lambda newest: check(who, newest))
                )
                for who in ("ann", "bob")
                for one in stores
            )
        )
        winner = stores[0].history(number).rows[0].owner
        assert all(isinstance(error, Refused) for error in raised) and len(raised) == 2, raised
        assert content(stores[1], number) == winner.encode()
    assert len([path for path in files(shared) if path.name.isdecimal()]) == 8


def test_a_number_whose_folder_cannot_be_removed_takes_pictures(shared: Path) -> None:
    a, b = store(shared, history=2), store(shared, history=2)
    emptied(a, 1)
    for _again in range(2):
        fill(a, range(3), identity=1)
        fill(b, range(3, 4), b"newest", identity=1)
        assert [row.number for row in a.history(1, most=9).rows] == [FIRST + 3, FIRST + 2]
        assert content(a, 1) == b"newest" and count(a) == 0
        assert not b.delete(1, LAST) and a.history(1) == ([], None) and ids(a) == []
    b._folder.of(1).joinpath(".nfs0000000000").unlink()
    fill(a, range(1), identity=1)
    assert a.history(1).rows[0].number < FIRST, "it has a folder of its own again"


def test_of_two_that_race_for_such_a_number_one_gets_it(shared: Path) -> None:
    stores = [store(shared), store(shared)]
    emptied(stores[0], *range(8))
    race(shared, stores)


def test_nothing_is_linked_into_a_folder_that_took_the_place_of_the_one_that_was_looked_into(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = store(shared), store(shared)
    emptied(a, 1)

    def then_replaced() -> None:
        monkeypatch.setattr(a._folder, "in_time", lambda: None)
        (b._folder.of(1) / ".nfs0000000000").unlink()
        b.put(1, "png", b"bob's", "t", {}, Sender("bob"))

    made = shared / "made"
    made.write_bytes(b"x")
    monkeypatch.setattr(a._folder, "in_time", then_replaced)
    with pytest.raises(FileNotFoundError):
        a._folder.link_first(made, 1)
    assert content(a, 1) == b"bob's" and len(a._folder.numbers(1)) == 1
    with pytest.raises(FileExistsError):
        a._folder.link_first(made, 1)


def test_a_picture_is_not_put_behind_that_of_a_third_who_began_the_number_anew(shared: Path) -> None:
    a, b = store(shared), store(shared)
    b.put(1, "png", b"ann's", "t", {}, Sender("ann"))
    begun = False

    def then_anew(newest: Row | None) -> None:
        nonlocal begun
        check("ann", newest)
        if not begun:
            begun = True
            b.delete(1, LAST)
            b.put(1, "png", b"bob's", "t", {}, Sender("bob"))

    with pytest.raises(Refused):
        a.put(1, "png", b"ann's second", "t", {}, Sender("ann", check=then_anew))
    assert content(a, 1) == b"bob's" and len(a._folder.numbers(1)) == 1
