"""The pictures in a folder of several servers: two stores stand for two of them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from imageserver.errors import Refused, SettingError, TooLarge
from imageserver.protocols.snap.pictures import LAST, Row, Sender, Sight
from imageserver.protocols.snap.shared import folder, reading
from imageserver.protocols.snap.shared.store import SharedStore, try_out

MIB = 2**20


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def store(place: Path, history: int = 1, max_bytes: int = 64 * MIB, max_files: int = 10_000) -> SharedStore:
    return SharedStore(place, history=history, max_bytes=max_bytes, max_files=max_files)


def fill(pictures: SharedStore, numbers: range, data: bytes = b"x", identity: int | None = None) -> None:
    for number in numbers:
        pictures.put(number if identity is None else identity, "png", data, "t", {"label": str(number)})


def ids(pictures: SharedStore) -> list[int]:
    found: list[int] = []
    after: int | None = -1
    while after is not None:  # a page ends after a second
        rows, after = pictures.newest(after, most=1000)
        found += [row.id for row in rows]
    return found


def content(pictures: SharedStore, identity: int) -> bytes:
    return pictures.open(pictures.history(identity).rows[0]).read()


def files(place: Path) -> list[Path]:
    return [path for path in (place / "snippets").rglob("*") if path.is_file()]


def count(pictures: SharedStore) -> int:
    return sum(found.files for found in pictures.repair())


def in_threads(*calls: Any) -> list[Exception]:
    """What calls raise that run at the same time."""
    raised: list[Exception] = []

    def run(call: Any) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def check(me: str, newest: Row | None) -> None:
    if newest is not None and newest.owner != me:
        raise Refused(403, f"it is {newest.owner}'s")


# ---- what one puts the other has ---------------------------------------------------------------------------------


def test_what_one_puts_the_other_gets_lists_and_removes(shared: Path) -> None:
    a, b = store(shared, history=2), store(shared, history=2)
    a.put(7, "jpeg", b"first", "2026-01-01T00:00:00", {"label": "é🙂"})
    b.put(7, "png", bytearray(b"\n{second"), "2026-01-02T00:00:00", {"label": "2"}, Sender("anna", "hall"))
    b.put(300, "png", memoryview(b"third"), "t", {})
    (newest,) = a.history(7).rows
    assert newest[1:5] == (7, "png", 8, "2026-01-02T00:00:00") and newest[6:] == ("anna", "hall", '{"label":"2"}')
    assert a.open(newest).read() == b"\n{second"
    rows, following = b.history(7, most=9)
    assert ([(row.kind, row.owner) for row in rows], following) == ([("png", "anna"), ("jpeg", "")], None)
    assert rows[0].number == rows[1].number + 1 and b.open(rows[1]).read() == b"first"
    assert ids(a) == ids(b) == [7, 300]
    assert not a.delete(7, newest.number)
    assert ids(b) == [300] and b.history(7) == ([], None)
    assert not list((shared / "snippets/incoming").iterdir())
    assert not (shared / "snippets/07/7").exists()
    assert content(a, 300) == b"third"


def test_files_are_for_the_server_alone(shared: Path) -> None:
    fill(store(shared), range(1))
    for path in (shared / "snippets").rglob("*"):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def test_history_is_what_was_put_last_and_numbers_are_never_used_again(shared: Path) -> None:
    a, b = store(shared, history=3), store(shared, history=3)
    for number in range(6):
        fill((a, b)[number % 2], range(number, number + 1), identity=5)
    rows = a.history(5, most=9).rows
    assert [row.prediction for row in rows] == [f'{{"label":"{number}"}}' for number in (5, 4, 3)]
    (page, following) = b.history(5, most=2)
    assert ([row.number for row in page], following) == ([rows[0].number, rows[1].number], rows[1].number)
    assert b.history(5, before=following or 0, most=2) == ([rows[2]], None)
    last = rows[0].number
    a.delete(5, last)
    time.sleep(0.01)  # the clock of a disk turns every few milliseconds
    fill(b, range(1), identity=5)
    assert a.history(5).rows[0].number > last


def test_lists_come_in_pages(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = store(shared)
    fill(a, range(10, 15))
    fill(a, range(LAST, LAST + 1), identity=LAST)
    first, following = a.newest(most=2)
    assert ([row.id for row in first], following) == ([10, 11], 11)
    second, following = a.newest(after=11, most=4)
    assert ([row.id for row in second], following) == ([12, 13, 14, LAST], None)
    assert a.newest(after=LAST) == ([], None)
    monkeypatch.setattr(reading, "PAGE_TIME", -1.0)
    assert [len(a.newest(most=9).rows), a.newest(most=9).following] == [1, 10], "each page has something"


def test_a_page_for_somebody_has_what_they_may_see(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageserver.protocols.snap.pictures.LOOKS", 10)
    a = store(shared)
    for number in range(25):
        a.put(number, "png", b"x", "t", {}, Sender("hall" if number == 12 else "ann", "" if number == 12 else "door"))
    sight, after, pages = Sight(cameras=("hall",)), -1, []
    while True:
        rows, following = a.newest(after, 2, sight)
        pages.append([row.id for row in rows])
        if following is None:
            break
        after = following
    assert pages == [[], [12], []]
    assert a.history(12, most=2, sight=Sight("ann")) == ([], None)


def test_what_has_gone_since_it_was_listed_does_not_end_a_list(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = store(shared), store(shared)
    fill(a, range(8))
    listed = a._folder.ids

    def then_gone() -> list[int]:
        found = list(listed())
        for identity in (2, 3):
            b.delete(identity, LAST)
        return found

    monkeypatch.setattr(a._folder, "ids", then_gone)
    rows, following = a.newest(most=3)
    assert ([row.id for row in rows], following) == ([0, 1], 3)
    assert [row.id for row in a.newest(after=3, most=9).rows] == [4, 5, 6, 7]


# ---- at the same time ------------------------------------------------------------------------------------------


def test_of_two_that_race_for_a_number_one_gets_it(shared: Path) -> None:
    stores = [store(shared), store(shared)]
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
    assert len(files(shared)) == 8


def test_all_that_are_put_at_once_under_one_number_are_there(shared: Path) -> None:
    stores = [store(shared, history=1000) for _ in range(4)]
    assert not in_threads(*(lambda one=one: fill(one, range(10), identity=1) for one in stores))
    rows = stores[0].history(1, most=1000).rows
    assert len(rows) == 40 and len({row.number for row in rows}) == 40


def test_a_number_is_there_all_the_while_that_it_is_replaced(shared: Path) -> None:
    a, b = store(shared), store(shared)
    fill(a, range(1), identity=1)
    ended = threading.Event()
    missing: list[object] = []

    def look() -> None:
        while not ended.is_set():
            rows = b.history(1).rows
            if not rows or not ids(b):
                missing.append(rows)

    def put() -> None:
        try:
            fill(a, range(12), identity=1)
        finally:
            ended.set()

    assert not in_threads(look, put)
    assert not missing


def test_who_may_not_follow_the_newest_leaves_nothing(shared: Path) -> None:
    a, b = store(shared), store(shared)
    a.put(1, "png", b"x", "t", {}, Sender("ann"))
    with pytest.raises(Refused, match="ann's"):
        b.put(1, "png", b"y", "t", {}, Sender("bob", check=lambda newest: check("bob", newest)))
    assert content(b, 1) == b"x" and len(files(shared)) == 1


def test_a_picture_that_another_took_the_place_of_is_not_given(shared: Path) -> None:
    """Even under the very same name: whoever looked at the first one may have no right to the second."""
    a, b = store(shared), store(shared)
    a.put(1, "png", b"mine", "t", {}, Sender("ann"))
    row = a.history(1).rows[0]
    b.delete(1, LAST)
    with pytest.raises(FileNotFoundError):
        a.open(row)
    b.put(2, "png", b"your", "t", {}, Sender("bob"))
    b._folder.of(1).mkdir()
    b._folder.path(2, b.history(2).rows[0].number).rename(b._folder.path(1, row.number))
    with pytest.raises(FileNotFoundError):
        a.open(row)


# ---- what gives way --------------------------------------------------------------------------------------------


def test_what_two_have_put_together_is_kept_within_the_limits_by_both_at_once(shared: Path) -> None:
    a, b = store(shared, max_files=6), store(shared, max_files=6)
    for number in range(0, 20, 2):
        fill(a, range(number, number + 1))
        fill(b, range(number + 1, number + 2))
    assert len(ids(a)) > 6, "neither has counted"
    for file in files(shared):  # the clock of a disk turns every few milliseconds
        os.utime(file, (time.time() - 1000 + int(file.parent.name),) * 2)

    def tidy(one: SharedStore) -> None:
        list(one.repair())
        while one.tidy(-1):
            pass

    assert not in_threads(lambda: tidy(a), lambda: tidy(b))
    assert ids(a) == list(range(14, 20))
    assert a.usage().files == b.usage().files == len(files(shared)) == 6
    assert not [path for path in (shared / "snippets").glob("*/*") if path.is_dir() and not list(path.iterdir())]
    room = a.put(50, "png", b"x", "t", {})
    assert (room.limit, room.more, ids(b)) == ("snippet_files", False, [*range(15, 20), 50])


def test_space_counts_in_blocks_and_the_newest_of_all_stays(shared: Path) -> None:
    a = store(shared, max_bytes=MIB)
    with pytest.raises(TooLarge, match=r"1048577 bytes; --snippet-disk allows 1048576"):
        a.put(1, "png", bytes(MIB + 1), "t", {})
    fill(a, range(12), bytes(100_000))
    list(a.repair())
    while a.tidy(-1):
        pass
    assert a.usage().disk <= MIB and ids(a) == list(range(12 - a.usage().files, 12)) and 8 < a.usage().files < 12
    a.put(1000, "png", bytes(MIB), "t", {})
    list(a.repair())
    while a.tidy(-1):
        pass
    assert ids(a) == [1000]


def test_pictures_that_come_after_the_clock_was_set_back_are_not_the_oldest(shared: Path) -> None:
    a = store(shared, max_files=3)
    fill(a, range(3))
    future = time.time() + 3600
    for file in files(shared):
        os.utime(file, (future + int(file.parent.name),) * 2)
    b = store(shared, max_files=3)
    list(b.repair())
    fill(b, range(10, 12))
    assert ids(b) == [2, 10, 11]


def test_what_a_killed_server_left_goes_when_nobody_has_touched_it_for_long(shared: Path) -> None:
    now = [0.0]
    a = SharedStore(shared, history=1, max_bytes=MIB, max_files=10, clock=lambda: now[0])
    fill(a, range(1))
    incoming = shared / "snippets/incoming"
    (incoming / "half").write_bytes(b"ImageServer")
    (incoming / "making.d").mkdir()
    (incoming / "making.d/1").write_bytes(b"x")
    assert count(a) == 0
    now[0] = folder.ABANDONED / 2
    (incoming / "later").touch()
    assert count(a) == 0
    now[0] = folder.ABANDONED
    assert count(a) == 2
    assert [path.name for path in incoming.iterdir()] == ["later"]
    assert ids(a) == [0]


def test_what_no_server_has_written_is_passed_by(shared: Path) -> None:
    a = store(shared)
    fill(a, range(2), b"x" * 1000)
    number = a.history(1).rows[0].number
    place = a._folder.of(1)
    (place / str(number + 1)).write_bytes(a._folder.path(1, number).read_bytes()[:-1])
    (place / str(number + 2)).write_bytes(b"something else")
    os.mkfifo(place / str(number + 3))
    (place / str(number + 4)).mkdir()
    (place / str(number + 5)).symlink_to("/etc/hostname")
    (place / "notes").write_text("hello")
    (shared / "snippets/01/not a number").mkdir()
    assert ids(a) == [0, 1] and a.history(1).rows[0].number == number
    fill(a, range(1), b"y", identity=1)
    assert content(a, 1) == b"y"


# ---- the disk --------------------------------------------------------------------------------------------------


def test_a_folder_that_is_moved_away_is_not_made_anew(shared: Path) -> None:
    a, away = store(shared), shared.with_name("away")
    fill(a, range(1))
    shared.rename(away)
    for call in (lambda: fill(a, range(1, 2)), lambda: ids(a), lambda: a.history(0), lambda: list(a.repair())):
        with pytest.raises(OSError, match="the folder is gone"):
            call()
    assert not shared.exists()
    away.rename(shared)
    fill(a, range(1, 2))
    assert ids(a) == [0, 1]
    shutil.rmtree(shared)
    shared.mkdir()
    assert ids(a) == [], "somebody has made an empty one"


def test_a_folder_that_goes_amid_a_write(shared: Path) -> None:
    a, away = store(shared), shared.with_name("away")
    fill(a, range(1))

    def move(_newest: Row | None) -> None:
        shared.rename(away)

    with pytest.raises(OSError, match="the folder is gone"):
        a.put(1, "png", b"x", "t", {}, Sender(check=move))
    assert not shared.exists()
    away.rename(shared)
    assert ids(a) == [0]


def test_the_mount_point_of_a_disk_that_is_missing_is_no_folder_to_begin_in(small_disk: Path, shared: Path) -> None:
    subprocess.run(["mount", "--bind", small_disk, shared], check=True)
    a = store(shared)
    fill(a, range(1))
    subprocess.run(["umount", "-l", shared], check=True)
    with pytest.raises(OSError, match="its disk is not mounted"):
        fill(a, range(1, 2))
    assert not list(shared.iterdir())
    subprocess.run(["mount", "--bind", small_disk, shared], check=True)
    try:
        fill(a, range(1, 2))
        assert ids(a) == [0, 1]
    finally:
        subprocess.run(["umount", "-l", shared], check=True)


def test_a_full_disk_costs_the_new_picture_alone(small_disk: Path) -> None:
    a, b = store(small_disk, history=2), store(small_disk, history=2)
    fill(a, range(5), bytes(1000))
    with pytest.raises(OSError, match="No space left") as full:
        b.put(9, "png", bytes(3 * MIB), "t", {})
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        fill(b, range(10, 2000), bytes(60_000))
    kept = ids(a)
    assert kept[:5] == list(range(5)) and {len(content(a, number)) for number in kept} == {1000, 60_000}
    assert len(files(small_disk)) == len(kept), "nothing half"
    assert not a.delete(0, LAST), "even now"
    fill(b, range(9, 10), bytes(1000))
    assert 9 in ids(a) and 0 not in ids(a)


def test_a_disk_that_cannot_be_written_is_read(small_disk: Path) -> None:
    fill(store(small_disk), range(2))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try_out(small_disk)
    a = store(small_disk)
    assert ids(a) == [0, 1] and content(a, 1) == b"x" and count(a) == 0
    for call in (lambda: fill(a, range(2, 3)), lambda: a.delete(0, LAST)):
        with pytest.raises(OSError, match="Read-only"):
            call()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    fill(a, range(2, 3))
    assert ids(a) == [0, 1, 2]


def test_where_nothing_can_ever_be_kept_the_start_says_so(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try_out(shared)
    assert not files(shared)
    with pytest.raises(SettingError, match=r"--shared .*/none: .*No such file.*give a folder that is there"):
        try_out(shared / "none")
    (shared / "file").touch()
    with pytest.raises(SettingError, match="Not a directory"):
        try_out(shared / "file")

    def refuse(*_paths: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(SettingError, match="no hard links"):
        try_out(shared)


def test_nothing_is_begun_once_it_is_closed(shared: Path) -> None:
    a = store(shared)
    a.close()
    for call in (lambda: fill(a, range(1)), lambda: ids(a), lambda: a.tidy(1), lambda: list(a.repair())):
        with pytest.raises(OSError, match="the server is stopping"):
            call()
    assert not list(shared.iterdir())
