"""Databases of older servers become today's, a copy is kept, and the way back is refused before anything is lost."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from imageserver.errors import Refused, SettingError
from imageserver.protocols.snap.keeper import Keeper
from imageserver.protocols.snap.local import schema
from imageserver.protocols.snap.local.store import SnapStore
from imageserver.protocols.snap.pictures import Repaired

TABLES = """
CREATE TABLE IF NOT EXISTS snippets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, file TEXT NOT NULL, kind TEXT NOT NULL,
    size INTEGER NOT NULL, received TEXT NOT NULL, prediction TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_id ON snippets (id, number);
"""
"""What an older server begins with."""

COUNTED = ";".join((*schema._COUNTED, "PRAGMA user_version = 1"))
INSERT = "INSERT INTO snippets (id, file, kind, size, received, prediction) VALUES (?, ?, 'png', 1, 't', ?)"


def store(folder: Path) -> SnapStore:
    return SnapStore(folder / "snippets", history=100, max_bytes=2**26, max_files=10_000)


def older(folder: Path, rows: int = 3, version: int = 1, prediction: str = "{}") -> Path:
    """The folder of an older server that was killed: what it wrote last is in its log alone."""
    pictures, path = folder / "snippets" / "pictures", folder / "snippets" / "snippets.db"
    pictures.mkdir(parents=True)
    alive = folder / "alive.db"
    with closing(sqlite3.connect(alive, isolation_level=None)) as database:
        database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {TABLES}")
        if version:
            database.executescript(COUNTED)
        for number in range(rows):
            (pictures / f"{number}.png").write_bytes(b"x")
            database.execute(INSERT, (number, f"{number}.png", prediction))
        for suffix in ("", "-wal"):
            shutil.copy(f"{alive}{suffix}", f"{path}{suffix}")
    assert path.with_name("snippets.db-wal").stat().st_size > 0
    return path


@pytest.mark.parametrize("version", [0, 1])
def test_records_of_an_older_server_are_taken_over_and_a_copy_is_kept(tmp_path: Path, version: int) -> None:
    path = older(tmp_path, version=version)
    with closing(store(tmp_path)) as pictures:
        assert [(row.id, row.owner, row.camera) for row in pictures.newest()[0]] == [(n, "", "") for n in range(3)]
        assert pictures.usage().files == 3
        assert list(pictures.repair())[-1] == Repaired()
        copy = pictures.copy
    assert copy == path.with_name("snippets.db.before-2")
    assert [file.name for file in sorted(path.parent.iterdir())] == ["pictures", "snippets.db", "snippets.db.before-2"]
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
        assert database.execute("SELECT id, file FROM snippets").fetchall() == [(n, f"{n}.png") for n in range(3)]
    with closing(store(tmp_path)) as pictures:
        assert pictures.copy is None, "once"


def test_what_begins_today_leaves_no_copy(tmp_path: Path) -> None:
    with closing(store(tmp_path)) as pictures:
        assert pictures.copy is None
        pictures.put(1, "png", b"x", "t", {})
    assert not list(tmp_path.glob("**/*before*"))


def test_an_older_server_refuses_todays_and_finds_no_list_of_files_to_go_by(tmp_path: Path) -> None:
    with closing(store(tmp_path)) as pictures:
        pictures.put(1, "png", b"x", "t", {})
    with closing(sqlite3.connect(tmp_path / "snippets" / "snippets.db", isolation_level=None)) as database:
        with pytest.raises(sqlite3.OperationalError, match="views may not be indexed"):
            database.executescript(TABLES)
        for statement in ("SELECT number, file FROM snippets", "DELETE FROM snippets", INSERT.replace("?", "1")):
            with pytest.raises(sqlite3.OperationalError, match=r"records of a newer server|is a view"):
                database.execute(statement)
    with closing(store(tmp_path)) as pictures:
        assert [row.id for row in pictures.newest()[0]] == [1]


def test_a_database_of_a_newer_server_is_refused_in_a_sentence(tmp_path: Path) -> None:
    store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "snippets" / "snippets.db")) as database:
        database.execute("PRAGMA user_version = 3")
    sentence = (
        f"--data {tmp_path}: snippets.db is of a newer server (version 3, this one knows 2): "
        "start that one again, or give another folder"
    )
    with pytest.raises(SettingError) as refused:
        store(tmp_path)
    assert str(refused.value) == sentence


def test_a_takeover_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = older(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_STEPS", (schema._COUNTED, (*schema._OWNED, "SELECT * FROM missing")))
        with pytest.raises(SettingError, match="no such table: missing"):
            store(tmp_path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT COUNT(*) FROM snippets").fetchone() == (3,)
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    with closing(store(tmp_path)) as pictures:
        assert len(pictures.newest()[0]) == 3


def test_without_room_for_the_copy_the_server_starts_and_takes_over_later(small_disk: Path) -> None:
    path = older(small_disk, rows=6, prediction="x" * 60_000)
    (small_disk / "alive.db").unlink(missing_ok=True)
    ballast, lines = small_disk / "ballast", list[str]()
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 600 * 1024))
    with closing(store(small_disk)) as pictures:
        for _ in range(2):
            with pytest.raises(OSError, match=r"no room for snippets\.db\.before-2, a copy of \d+ bytes"):
                pictures.newest()
        with pytest.raises(Refused) as refused:
            Keeper(pictures, lines.append).find(1)
        assert (refused.value.status, len(lines)) == (507, 1)
        assert not list(path.parent.glob("*before*"))
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (1,)
        ballast.unlink()
        assert [row.id for row in pictures.newest()[0]] == list(range(6))
        assert pictures.copy == path.with_name("snippets.db.before-2")
