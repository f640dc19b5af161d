"""The pictures of Snap on disk: files for the pictures, SQLite for the records. Every method blocks: use a thread.

A picture is there, whole, once `put` has returned, whatever happens then: its file is written under another
name, flushed to the disk and renamed before its record is committed. What a crash leaves between the two (a
file without a record, or a record without a file) is removed by `repair` after the next start.

No method takes long: what may concern many pictures is done in pieces of `PIECE`, and says whether there is more.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from imageserver import files
from imageserver.errors import SettingError
from imageserver.protocols.snap import pictures
from imageserver.protocols.snap.local.folder import SnapFolder
from imageserver.protocols.snap.local.records import Records
from imageserver.protocols.snap.pictures import (
    ALL,
    LAST,
    NOBODY,
    PIECE,
    Repaired,
    Room,
    Row,
    Sender,
    Sight,
    Slice,
    Usage,
    says_full,
)

TEMPORARY = ".tmp"
"""The suffix of a picture's file until it is whole."""

BUCKETS = 256
"""Sets that the names of all files are divided over, so that none takes milliseconds to grow."""


class SnapStore:
    """The pictures in `folder`, as PictureStore.

    Args:
        folder: where they are.
        history: pictures of each id that are kept, the newest.
        max_bytes: what all of them may take of the disk, in whole blocks and with the database; the oldest go first.
        max_files: how many there may be.

    Raises:
        SettingError: the folder cannot be used, and that is no fault of the disk's which may pass.
    """

    others = False
    """Whether other servers write there as well: the data folder is locked."""

    def __init__(self, folder: Path, *, history: int, max_bytes: int, max_files: int) -> None:
        self._folder, self._history = SnapFolder(folder), history
        self._pictures = self._folder.pictures
        self._max_bytes, self._max_files = max_bytes, max_files
        self._made: set[str] | None = set()  # names of files since the start, until `repair` is done
        self._opened: Records | None = None
        self._opening = threading.Lock()
        self._closed = False
        try:
            self.usage()  # which opens it
        except sqlite3.NotSupportedError as error:
            why = f"{error}: start that one again, or give another folder"
            raise SettingError(f"--data {folder.parent}: {why}") from error
        except (OSError, sqlite3.Error) as error:
            if not _may_pass(self._folder, error):
                why = f"pictures cannot be kept there ({error}): give a folder that can be written"
                raise SettingError(f"--data {folder.parent}: {why}") from error
            # Everything else can start without it; each method opens it as soon as that is possible.

    # ---- one picture ------------------------------------------------------------------------------------------

    def put(
        self,
        identity: int,
        kind: str,
        picture: bytes | bytearray | memoryview,
        received: str,
        prediction: dict[str, Any],
        sender: Sender = NOBODY,
    ) -> Room:
        """As PictureStore.put."""
        self.check(len(picture))
        text = json.dumps(prediction, ensure_ascii=False, separators=(",", ":"))
        path, records = self._pictures / f"{uuid.uuid4().hex}.{kind}", self._records  # a folder that is back is made
        names, made = (path.name, path.with_suffix(TEMPORARY).name), self._made
        if made is not None:
            made.update(names)
        try:
            disk = _write(path, picture)
            records.add(identity, path.name, kind, len(picture), disk, received, text, sender)
        except BaseException:
            if made is not None:
                made.difference_update(names)
            path.unlink(missing_ok=True)
            raise
        freed, room, long = 0, Room(more=True), True
        with contextlib.suppress(OSError, sqlite3.Error):  # it is kept all the same; `tidy` tells what is wrong
            long = self._shorten(records, identity)
            while room.more and freed < disk:
                room = self._make_room(records)
                freed += room.freed
        return replace(room, more=room.more or long)

    def check(self, size: int) -> None:
        """As PictureStore.check."""
        pictures.check_size(size, self._max_bytes)

    def path(self, row: Row) -> Path:
        """Where the picture of a record is; another may have taken its place."""
        return self._pictures / row.file

    def open(self, row: Row) -> BinaryIO:
        """As PictureStore.open."""
        return self.path(row).open("rb")

    # ---- lists ------------------------------------------------------------------------------------------------

    def newest(self, after: int = -1, most: int = PIECE, sight: Sight = ALL) -> Slice:
        """As PictureStore.newest."""
        return self._records.newest(after, most, sight)

    def history(self, identity: int, before: int = LAST, most: int = 1, sight: Sight = ALL) -> Slice:
        """As PictureStore.history."""
        return self._records.history(identity, before, most, sight)

    def unreadable(self, identity: int) -> int:
        """As PictureStore.unreadable: a record is read, or none is."""
        return 0

    def usage(self) -> Usage:
        """What all pictures take now."""
        return self._records.usage()

    # ---- removing, a piece at a time --------------------------------------------------------------------------

    def delete(self, identity: int, newest: int) -> bool:
        """As PictureStore.delete."""
        records = self._records
        rows = records.of(identity, newest, PIECE)
        self._forget(records, rows)
        return len(rows) == PIECE or records.give_back()

    def tidy(self, identity: int) -> bool:
        """As PictureStore.tidy."""
        records = self._records
        long = self._shorten(records, identity)
        return self._make_room(records).more or long or records.give_back()

    def repair(self) -> Iterator[Repaired]:
        """As PictureStore.repair."""
        known: list[set[int]] = [set() for _ in range(BUCKETS)]  # hashes: enough, and a fifth of the names' memory
        number, records = 0, self._records
        while rows := records.after(number, PIECE):
            number = rows[-1][0]
            for _number, file in rows:
                known[hash(file) % BUCKETS].add(hash(file))
            yield _measure(self._pictures, records, rows)
        with os.scandir(self._pictures) as entries:
            while piece := list(itertools.islice(entries, PIECE)):
                names = [entry.name for entry in piece if not entry.is_dir(follow_symlinks=False)]
                if not records.usable:  # their names say nothing about what is in the folder now
                    raise OSError(errno.EAGAIN, "the folder of the pictures was replaced")
                yield self._remove([name for name in names if hash(name) not in known[hash(name) % BUCKETS]])
        self._made = None

    @property
    def copy(self) -> Path | None:
        """As PictureStore.copy."""
        return None if self._opened is None else self._opened.copy

    def close(self) -> None:
        """Close the database, for ever: what is still in a thread finds it closed."""
        with self._opening:
            self._closed = True
            if self._opened is not None:
                self._opened.close()

    @property
    def _records(self) -> Records:
        """The records that are in the folder now. OSError, sqlite3.Error: they cannot be opened."""
        with self._opening:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "the server is stopping")
            if self._opened is not None and not self._opened.usable:
                self._opened.close()
                self._opened = None
            if self._opened is None:
                self._folder.prepare()
                log_pages = max(32, min(1000, self._max_bytes // 2**20))
                self._opened = Records(self._folder, log_pages)
            return self._opened

    def _shorten(self, records: Records, identity: int) -> bool:
        """Forget a piece of an id's history that is longer than it may be; returns whether there is more of it."""
        old = records.old(identity, self._history, PIECE)
        self._forget(records, old)
        return len(old) == PIECE

    def _make_room(self, records: Records) -> Room:
        """Forget a piece of what is over the limits of space and files."""
        usage = records.usage()
        surplus, excess = usage.files - self._max_files, usage.disk - self._max_bytes  # files, bytes
        gone: list[tuple[int, str]] = []
        freed = 0
        if surplus > 0 or excess > 0:
            for number, file, size in records.oldest(PIECE):
                if len(gone) >= surplus and freed >= excess:
                    break
                gone.append((number, file))
                freed += size
            self._forget(records, gone)
        limit = "" if not gone else "snippet_files" if surplus > 0 else "snippet_disk"
        return Room(len(gone) == PIECE, freed, limit)

    def _forget(self, records: Records, found: Sequence[tuple[int, str]]) -> None:
        """Remove pictures that were found in `records`: numbers mean others where the folder was replaced since.

        The files go first, since a full disk may have no room for the news either.
        """
        for _number, file in found:
            (self._pictures / file).unlink(missing_ok=True)
        records.remove(number for number, _file in found)

    def _remove(self, unknown: Iterable[str]) -> Repaired:
        """Remove files of which no record is known, but not those that were made since the start."""
        made = self._made or ()
        left = [file for file in unknown if file not in made]
        for file in left:
            (self._pictures / file).unlink(missing_ok=True)
        return Repaired(files=len(left))


def _measure(pictures: Path, records: Records, rows: Sequence[tuple[int, str]]) -> Repaired:
    """Note what files take; remove records without a file."""
    found, missing = [], []
    for number, file in rows:
        try:
            found.append((_blocks(os.stat(pictures / file)), number))
        except FileNotFoundError:
            missing.append(number)
    records.measured(found)
    if missing:
        records.remove(missing)
    return Repaired(records=len(missing))


def _write(path: Path, data: bytes | bytearray | memoryview) -> int:
    """Write a file, whole or not at all, and have it on the disk; returns what it takes there, in bytes."""
    temporary = path.with_suffix(TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            blocks = _blocks(os.fstat(file.fileno()))
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    files.sync(path.parent)
    return blocks


def _may_pass(folder: SnapFolder, error: OSError | sqlite3.Error) -> bool:
    """Whether the disk is full, cannot be written or is out of order: what the start need not wait for."""
    if says_full(error) or not folder.has_room() or folder.is_read_only():
        return True
    code = getattr(error, "sqlite_errorcode", None) or 0
    return getattr(error, "errno", None) == errno.EIO or code & 0xFF == sqlite3.SQLITE_IOERR


def _blocks(status: os.stat_result) -> int:
    """What a file takes on the disk: st_blocks counts 512 bytes, whatever the blocks of the file system are."""
    return status.st_blocks * 512
