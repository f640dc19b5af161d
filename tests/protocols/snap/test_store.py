"""The pictures on disk: whole or not there, the newest kept, the oldest evicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageserver.errors import SettingError, TooLarge
from imageserver.protocols.snap.store import SnapStore


def store(folder: Path, history: int = 1, max_bytes: int = 10_000) -> SnapStore:
    return SnapStore(folder / "snippets", history=history, max_bytes=max_bytes)


def test_the_newest_picture_of_each_id_is_kept(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    for text in (b"first", b"second"):
        pictures.put(7, "png", text, "2026-01-01T00:00:00", {"label": text.decode()})
    pictures.put(8, "jpeg", b"other", "2026-01-02T00:00:00", {})
    (found,) = pictures.get(7)
    assert (found.path.read_bytes(), found.kind, found.size, found.prediction) == (
        b"second",
        "png",
        6,
        {"label": "second"},
    )
    assert [snippet.id for snippet in pictures.newest()] == [7, 8]
    assert len(list((tmp_path / "snippets" / "pictures").iterdir())) == 2
    assert pictures.get(9) == []


def test_history_keeps_more_newest_first(tmp_path: Path) -> None:
    pictures = store(tmp_path, history=2)
    for text in (b"1", b"2", b"3"):
        pictures.put(1, "png", text, "t", {})
    assert [snippet.path.read_bytes() for snippet in pictures.get(1)] == [b"3", b"2"]


def test_the_oldest_give_way_to_the_limit_of_space(tmp_path: Path) -> None:
    pictures = store(tmp_path, max_bytes=250)
    for identity in range(4):
        pictures.put(identity, "png", bytes(100), "t", {})
    assert [snippet.id for snippet in pictures.newest()] == [2, 3]
    assert len(list((tmp_path / "snippets" / "pictures").iterdir())) == 2


def test_what_is_larger_than_all_may_be_is_refused_before_anything_gives_way(tmp_path: Path) -> None:
    pictures = store(tmp_path, max_bytes=250)
    pictures.put(1, "png", bytes(100), "t", {})
    with pytest.raises(TooLarge, match="251 bytes; --snippet-disk allows 250"):
        pictures.put(2, "png", bytes(251), "t", {})
    assert [snippet.id for snippet in pictures.newest()] == [1]
    assert len(list((tmp_path / "snippets" / "pictures").iterdir())) == 1
    pictures.put(2, "png", bytes(250), "t", {})
    assert [snippet.id for snippet in pictures.newest()] == [2]


def test_deleting_takes_the_files_along(tmp_path: Path) -> None:
    pictures = store(tmp_path, history=3)
    pictures.put(1, "png", b"1", "t", {})
    pictures.put(1, "png", b"2", "t", {})
    assert pictures.delete(1) is True
    assert pictures.delete(1) is False
    assert list((tmp_path / "snippets" / "pictures").iterdir()) == []


def test_what_a_crash_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.put(1, "png", b"whole", "t", {})
    first.put(2, "png", b"its file will be gone", "t", {})
    (lost,) = first.get(2)
    first.close()
    lost.path.unlink()
    folder = tmp_path / "snippets" / "pictures"
    (folder / "half.tmp").write_bytes(b"ha")
    (folder / "unrecorded.png").write_bytes(b"renamed, but its record was never committed")
    second = store(tmp_path)
    assert [snippet.id for snippet in second.newest()] == [1]
    assert [path.read_bytes() for path in folder.iterdir()] == [b"whole"]


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "snippets").write_text("a file is in the way")
    with pytest.raises(SettingError, match="pictures cannot be kept"):
        store(tmp_path)
