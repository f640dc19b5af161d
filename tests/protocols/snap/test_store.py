"""The pictures on disk: whole or not there, the newest kept, the oldest evicted, a full disk survived."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from unittest.mock import Mock

import pytest

from imageserver.errors import Refused, SettingError, TooLarge
from imageserver.protocols.snap import pages
from imageserver.protocols.snap.local import store as module
from imageserver.protocols.snap.local.store import SnapStore
from imageserver.protocols.snap.pictures import Repaired, Row, Sender, Sight

MIB = 2**20
PIECE = 16

OLD_SCHEMA = """
CREATE TABLE snippets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, file TEXT NOT NULL, kind TEXT NOT NULL,
    size INTEGER NOT NULL, received TEXT NOT NULL, prediction TEXT NOT NULL
);
CREATE INDEX by_id ON snippets (id, number);
"""
"""As servers made it that counted logical bytes."""


@pytest.fixture(autouse=True)
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pictures make a piece."""
    monkeypatch.setattr(module, "PIECE", PIECE)


def store(folder: Path, history: int = 1, max_bytes: int = 64 * MIB, max_files: int = 10_000) -> SnapStore:
    return SnapStore(folder / "snippets", history=history, max_bytes=max_bytes, max_files=max_files)


def files(folder: Path) -> list[Path]:
    return list((folder / "snippets" / "pictures").iterdir())


def ids(pictures: SnapStore) -> list[int]:
    return [row.id for row in pictures.newest(most=1000)[0]]


def fill(pictures: SnapStore, numbers: range, data: bytes = b"x", identity: int | None = None) -> None:
    for number in numbers:
        pictures.put(number if identity is None else identity, "png", data, "t", {"label": str(number)})


def repair(pictures: SnapStore) -> Repaired:
    steps = list(pictures.repair())
    return Repaired(sum(step.files for step in steps), sum(step.records for step in steps))


def test_the_newest_picture_of_each_id_is_kept(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    for text in (b"first", b"second"):
        pictures.put(7, "png", text, "2026-01-01T00:00:00", {"label": text.decode()})
    pictures.put(8, "jpeg", b"other", "2026-01-02T00:00:00", {})
    ((found,), following) = pictures.history(7)
    assert (pictures.path(found).read_bytes(), found.kind, found.size) == (b"second", "png", 6)
    assert (found.prediction, following) == ('{"label":"second"}', None)
    assert ids(pictures) == [7, 8]
    assert len(files(tmp_path)) == 2
    assert pictures.history(9) == ([], None)


def test_history_keeps_more_newest_first(tmp_path: Path) -> None:
    pictures = store(tmp_path, history=2)
    for text in (b"1", b"2", b"3"):
        pictures.put(1, "png", text, "t", {})
    assert [pictures.path(row).read_bytes() for row in pictures.history(1, most=5)[0]] == [b"3", b"2"]


def test_lists_come_in_pages(tmp_path: Path) -> None:
    pictures = store(tmp_path, history=5)
    fill(pictures, range(10, 15))
    fill(pictures, range(5), identity=12)
    first, following = pictures.newest(most=2)
    assert ([row.id for row in first], following) == ([10, 11], 11)
    second, following = pictures.newest(after=11, most=3)
    assert ([(row.id, row.prediction) for row in second], following) == (
        [(12, '{"label":"4"}'), (13, '{"label":"13"}'), (14, '{"label":"14"}')],
        None,
    )
    assert pictures.newest(after=14) == ([], None)
    page = pages.history(pictures, 12, 2**63 - 1, 2)
    assert page is not None
    assert page.next.startswith("/snippets/12/?history=1&before=")
    before = int(page.next.partition("before=")[2].partition("&")[0])
    rest, following = pictures.history(12, before, 5)
    assert ([row.prediction for row in rest], following) == ([f'{{"label":"{number}"}}' for number in (2, 1, 0)], None)


def test_a_page_for_somebody_ends_after_so_many_looks_and_leads_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageserver.protocols.snap.pictures.LOOKS", 10)
    pictures = store(tmp_path, history=100)
    for number in range(45):
        camera = {12: "hall", 13: "", 40: "hall"}.get(number, "door")
        pictures.put(number, "png", b"x", "t", {}, Sender("hall" if number in (13, 20) else "ann", camera))
    sight = Sight(cameras=("hall", "nothing' OR 1=1"))
    pages_of, after = [], -1
    while True:
        rows, following = pictures.newest(after, 2, sight)
        pages_of.append([row.id for row in rows])
        if following is None:
            break
        after = following
    assert pages_of == [[], [12, 13], [], [], [40], []], "13 counts under its user's name"
    for owner in ("ann", "bob", "ann", "ann"):
        pictures.put(7, "png", b"x", "t", {}, Sender(owner))
    rows, following = pictures.history(7, most=9, sight=Sight("ann"))
    assert ([row.owner for row in rows], following) == (["ann"] * 4, None)
    rows, following = pictures.history(7, most=2, sight=Sight("ann"))
    assert (len(rows), following) == (2, rows[-1].number)
    assert pages.history(pictures, 7, 2**63 - 1, 9, Sight("eve")) is None


def test_who_may_not_follow_the_newest_is_refused_within_the_transaction(tmp_path: Path) -> None:
    pictures = store(tmp_path)

    def check(newest: Row | None) -> None:
        if newest is not None and newest.owner != "bob":
            raise Refused(403, f"it is {newest.owner}'s")

    pictures.put(1, "png", b"x", "t", {}, Sender("bob", check=check))
    pictures.put(1, "png", b"x", "t", {}, Sender("ann"))
    with pytest.raises(Refused, match="ann's"):
        pictures.put(1, "png", b"y", "t", {}, Sender("bob", check=check))
    assert [row.owner for row in pictures.history(1, most=5)[0]] == ["ann"]
    assert len(files(tmp_path)) == 1


def test_a_page_of_long_predictions_has_fewer_rows(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    for number in range(5):
        pictures.put(number, "png", b"x", "t", {"text": "x" * 600_000})
    assert [(len(rows), following) for rows, following in (pictures.newest(), pictures.newest(after=3))] == [
        (2, 1),
        (1, None),
    ]


def test_the_oldest_give_way_to_the_limit_of_space_which_counts_blocks(tmp_path: Path) -> None:
    pictures = store(tmp_path, max_bytes=MIB // 2)
    fill(pictures, range(100))  # of one byte each, which take a block
    usage = pictures.usage()
    assert usage.disk <= MIB // 2
    assert usage.files == len(files(tmp_path)) < 100
    taken = sum(path.stat().st_blocks * 512 for path in (tmp_path / "snippets").rglob("*") if path.is_file())
    assert taken < MIB // 2 + 64 * 1024, "with the database and its log, whose free pages are given back later"
    assert ids(pictures) == list(range(100 - usage.files, 100))


def test_the_oldest_give_way_to_the_limit_of_files(tmp_path: Path) -> None:
    pictures = store(tmp_path, max_files=3)
    fill(pictures, range(5))
    assert ids(pictures) == [2, 3, 4]
    assert len(files(tmp_path)) == 3


def test_a_picture_makes_the_room_that_it_takes_and_the_rest_follows_in_pieces(tmp_path: Path) -> None:
    fill(store(tmp_path), range(PIECE * 3))
    pictures = store(tmp_path, max_files=10)
    room = pictures.put(5000, "png", b"x", "t", {})
    assert (room.more, room.limit) == (True, "snippet_files")
    assert pictures.usage().files == PIECE * 2 + 1
    pieces = 0
    while pictures.tidy(-1):
        pieces += 1
    assert pieces >= 1
    assert (pictures.usage().files, len(files(tmp_path))) == (10, 10)


def test_pictures_that_a_disk_refuses_leave_nothing_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = store(tmp_path)
    monkeypatch.setattr(module.os, "fsync", Mock(side_effect=OSError(30, "Read-only file system")))
    for number in range(3):
        with pytest.raises(OSError, match="Read-only"):
            pictures.put(number, "png", b"x", "t", {})
    assert pictures._made == set() and not files(tmp_path)


def test_what_was_still_at_the_disk_does_not_open_it_again_after_its_end(tmp_path: Path) -> None:
    """A log of the database stayed, which the next start had to add."""
    pictures = store(tmp_path)
    fill(pictures, range(2))
    steps = pictures.repair()
    next(steps)
    pictures.close()
    later = (pictures.usage, lambda: pictures.tidy(1), lambda: pictures.delete(1, 2), lambda: fill(pictures, range(1)))
    for call in (*later, lambda: next(pictures.repair())):
        with pytest.raises(OSError, match="the server is stopping"):
            call()
    assert sorted(path.name for path in (tmp_path / "snippets").iterdir()) == ["pictures", "snippets.db"]


def test_a_shorter_history_is_made_in_pieces(tmp_path: Path) -> None:
    fill(store(tmp_path, history=1000), range(PIECE * 2), identity=1)
    pictures = store(tmp_path)
    assert pictures.put(1, "png", b"last", "t", {}).more
    while pictures.tidy(1):
        pass
    assert [pictures.path(row).read_bytes() for row in pictures.history(1, most=9)[0]] == [b"last"]
    assert len(files(tmp_path)) == 1


def test_what_is_larger_than_all_may_be_is_refused_before_anything_gives_way(tmp_path: Path) -> None:
    pictures = store(tmp_path, max_bytes=MIB)
    pictures.put(1, "png", bytes(100), "t", {})
    with pytest.raises(TooLarge, match=r"1048577 bytes; --snippet-disk allows 1048576"):
        pictures.put(2, "png", bytes(MIB + 1), "t", {})
    assert ids(pictures) == [1]
    pictures.put(2, "png", bytes(MIB), "t", {})
    assert ids(pictures) == [2], "the newest stays, whatever the database takes beside it"


def test_deleting_takes_the_files_along_and_gives_the_space_back(tmp_path: Path) -> None:
    pictures = store(tmp_path, history=1000)
    fill(pictures, range(PIECE + 10), identity=1)
    fill(pictures, range(7, 8))
    before = pictures.usage().disk
    newest = pictures.history(1)[0][0].number
    pictures.put(1, "png", b"put meanwhile", "t", {})
    pieces = 1
    while pictures.delete(1, newest):
        pieces += 1
    assert pieces >= 2
    assert [row.size for row in pictures.history(1, most=9)[0]] == [13]
    assert len(files(tmp_path)) == 2
    assert pictures.usage().disk < before - PIECE * 4096
    pictures.close()
    database = sqlite3.connect(tmp_path / "snippets" / "snippets.db")
    assert database.execute("PRAGMA freelist_count").fetchone() == (0,)
    database.close()


def test_what_a_crash_left_is_removed_after_the_next_start(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.put(1, "png", b"whole", "t", {})
    first.put(2, "png", b"its file will be gone", "t", {})
    lost = first.path(first.history(2)[0][0])
    first.close()
    lost.unlink()
    folder = tmp_path / "snippets" / "pictures"
    (folder / "half.tmp").write_bytes(b"ha")
    (folder / "unrecorded.png").write_bytes(b"renamed, but its record was never committed")
    (folder / "not ours").mkdir()
    (folder / os.fsdecode(b"no \xff text")).write_bytes(b"")
    second = store(tmp_path)
    steps = second.repair()
    next(steps)
    second.put(3, "png", b"put meanwhile", "t", {})
    found = list(steps)
    assert sum(step.files for step in found) == 3
    assert ids(second) == [1, 3]
    assert sorted(path.read_bytes() for path in folder.iterdir() if path.is_file()) == [b"put meanwhile", b"whole"]
    assert repair(second) == Repaired()


def test_pictures_of_an_older_server_are_counted_once_they_are_measured(tmp_path: Path) -> None:
    folder = tmp_path / "snippets" / "pictures"
    folder.mkdir(parents=True)
    old = sqlite3.connect(tmp_path / "snippets" / "snippets.db", isolation_level=None)
    old.execute("PRAGMA journal_mode = WAL")
    old.executescript(OLD_SCHEMA)
    insert = "INSERT INTO snippets (id, file, kind, size, received, prediction) VALUES (?, ?, ?, ?, ?, ?)"
    for number in range(PIECE + 10):
        (folder / f"{number}.png").write_bytes(b"x")
        old.execute(insert, (number, f"{number}.png", "png", 1, "t", '{"label": "7"}'))
    old.close()
    pictures = store(tmp_path, max_files=10)
    assert pictures.usage().files == PIECE + 10
    assert repair(pictures) == Repaired()
    while pictures.tidy(-1):
        pass
    usage = pictures.usage()
    assert usage.files == 10
    assert usage.disk > 10 * (folder / f"{PIECE}.png").stat().st_blocks * 512
    assert ids(pictures) == list(range(PIECE, PIECE + 10))
    assert b'"prediction":{"label": "7"}' in pages.newest(pictures, -1, 1).body
    pictures.close()
    old = sqlite3.connect(tmp_path / "snippets" / "snippets.db")
    assert old.execute("PRAGMA auto_vacuum").fetchone() == (2,), "deleting gives back"
    old.close()


def test_a_full_disk_costs_the_new_picture_alone(small_disk: Path) -> None:
    pictures = store(small_disk)
    fill(pictures, range(5), bytes(1000))
    (small_disk / "other").write_bytes(bytes(800 * 1024))
    with pytest.raises(OSError, match="No space left"):
        pictures.put(9, "png", bytes(2 * MIB), "t", {})
    with pytest.raises((OSError, sqlite3.OperationalError)):
        fill(pictures, range(10, 2000), bytes(1000))
    kept = ids(pictures)
    assert kept[:5] == list(range(5))
    assert len(files(small_disk)) == len(kept), "nothing half"
    assert all(pictures.path(row).stat().st_size == 1000 for row in pictures.newest(most=2000)[0])
    while pictures.delete(0, pictures.history(0)[0][0].number):  # even now
        break
    assert 0 not in ids(pictures)
    (small_disk / "other").unlink()
    fill(pictures, range(9, 10), bytes(1000))
    assert 9 in ids(pictures)
    pictures.close()
    assert repair(store(small_disk)) == Repaired()


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "snippets").write_text("a file is in the way")
    with pytest.raises(SettingError, match="pictures cannot be kept"):
        store(tmp_path)
