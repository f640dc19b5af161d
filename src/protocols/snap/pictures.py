"""The record of a picture, what of the pictures somebody gets, and what every store of them does.

There are two stores: local/ is the one server's own, shared/ is that of several front ends.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from imageserver import limits
from imageserver.errors import TooLarge

LAST = 2**63 - 1
"""The highest number that a store can hold."""

PIECE = 64
"""Pictures that are removed or looked at before anybody else has a turn."""

PAGE_BYTES = 2**20
"""Bytes of predictions after which a page of rows ends, whatever number of rows was asked for."""

LOOKS = 2000
"""Pictures that are looked at for a page of those that somebody may see; then it ends, however many it has."""


class Row(NamedTuple):
    """One picture's record.

    Attributes:
        number: of two pictures of an id the later one has the higher one.
        file: where the store has it.
        owner: name of the user who put it; "": nobody known.
        camera: the name that was said with it; "": none.
        prediction: the JSON text, as it was stored.
    """

    number: int
    id: int
    kind: str
    size: int
    received: str
    file: str
    owner: str
    camera: str
    prediction: str

    @property
    def source(self) -> str:
        """The name of the camera that it counts under: without one, that of its user."""
        return self.camera or self.owner


class Sight(NamedTuple):
    """What somebody may see of the records.

    Attributes:
        owner: pictures that this user put; None: whoever did.
        cameras: pictures that count under these names; None: under any.
        names: whether the answer says who put a picture.
    """

    owner: str | None = None
    cameras: tuple[str, ...] | None = None
    names: bool = False

    @property
    def whole(self) -> bool:
        """Whether no picture is left out."""
        return self.owner is None and self.cameras is None

    def shows(self, row: Row) -> bool:
        """Whether this picture is not left out."""
        return self.owner in (None, row.owner) and (self.cameras is None or row.source in self.cameras)


ALL = Sight()


class Sender(NamedTuple):
    """Who puts a picture, and with which camera, "" where unknown; `check` raises if they may not follow the newest."""

    owner: str = ""
    camera: str = ""
    check: Callable[[Row | None], None] = lambda _newest: None


NOBODY = Sender()


class Slice(NamedTuple):
    """Some rows of a list; `following`: the id or number behind which the next ones are, None where there are none."""

    rows: list[Row]
    following: int | None


@dataclass(frozen=True)
class Usage:
    """What all pictures take: `files` of them, and `disk` bytes, with what the store needs beside them."""

    files: int
    disk: int


@dataclass(frozen=True)
class Repaired:
    """What `repair` found: files without a record and records without a file, which are gone now."""

    files: int = 0
    records: int = 0


@dataclass(frozen=True)
class Room:
    """What gave way: bytes that were freed by a limit (the name of a field of `Limits`); and whether there is more."""

    more: bool
    freed: int = 0
    limit: str = ""


class PictureStore(Protocol):
    """Where pictures are kept. Every method blocks: use a thread. None of them takes long where the disk does not.

    What cannot be done now raises OSError or sqlite3.Error, and is then not done, nor half of it.
    """

    @property
    def copy(self) -> Path | None:
        """Where the records are kept as they were, when those of an older server were taken over since the start."""

    @property
    def others(self) -> bool:
        """Whether other front ends write there as well, so that one has to look again and again."""

    def put(
        self,
        identity: int,
        kind: str,
        picture: bytes | bytearray | memoryview,
        received: str,
        prediction: dict[str, Any],
        sender: Sender = NOBODY,
    ) -> Room:
        """Keep a picture: it is on the disk, whole, when this returns. Where space is short as much gives way.

        Returns:
            What gave way. Where there is more to remove, `tidy` does so.

        Raises:
            TooLarge: it alone is larger than all may be together.
            Exception: what `sender.check` raises; it is not kept either.
        """

    def check(self, size: int) -> None:
        """TooLarge for a picture of `size` bytes that could not be kept, whatever gave way to it."""

    def open(self, row: Row) -> BinaryIO:
        """The picture of a record. FileNotFoundError: another took its place."""

    def newest(self, after: int = -1, most: int = PIECE, sight: Sight = ALL) -> Slice:
        """The newest picture of each id above `after`, by id: at most `most`, and about `PAGE_BYTES`; as `history`."""

    def history(self, identity: int, before: int = LAST, most: int = 1, sight: Sight = ALL) -> Slice:
        """The pictures of an id with a number below `before`, newest first; none: an empty list.

        Where `sight` leaves some out `LOOKS` are looked at in one go: there may be fewer, or none, before the next.
        """

    def unreadable(self, identity: int) -> int:
        """The highest number of an id whose files are there, but of none the record can be read; else 0."""

    def delete(self, identity: int, newest: int) -> bool:
        """Forget a piece of an id's pictures up to the number `newest`; returns whether there is more of it."""

    def tidy(self, identity: int) -> bool:
        """Remove a piece of what is over the limits, and give its space back; returns whether there is more of it."""

    def repair(self) -> Iterator[Repaired]:
        """Remove what a crash left, and measure what files take; one step for each piece, each of them blocks."""

    def close(self) -> None:
        """Let go of everything, for ever: what is still in a thread finds it closed."""


def looks(most: int, sight: Sight) -> int:
    """Pictures that are looked at for a page of `most` rows."""
    return most if sight.whole else max(most, LOOKS)


def _has_prediction(row: Row) -> bool:
    return row.prediction is not None


def _never() -> bool:
    return False


def page_of(
    rows: Iterable[Row],
    most: int,
    most_looks: int,
    place: Callable[[Row], int],
    seen: Callable[[Row], bool] = _has_prediction,
    ended: Callable[[], bool] = _never,
) -> Slice:
    """The first rows of a list, at most `most`, and about `PAGE_BYTES`.

    Args:
        rows: all of it.
        most_looks: of these the page is made.
        place: the id or number of a row, for the page that follows.
        seen: whether a row may be; as the database has it, others lack their prediction.
        ended: whether it is to end, however short it is.
    """
    found: list[Row] = []
    size = looked = following = 0
    for row in rows:
        if len(found) == most or size >= PAGE_BYTES or looked == most_looks or (looked and ended()):
            return Slice(found, following)
        looked, following = looked + 1, place(row)
        if seen(row):
            found.append(row)
            size += len(row.prediction)
    return Slice(found, None)


def check_size(size: int, max_bytes: int) -> None:
    """TooLarge for a picture of more bytes than all of them may have together."""
    if size > max_bytes:
        limits.hit("snippet_disk")
        option = limits.option("snippet_disk")
        raise TooLarge(f"the picture has {size} bytes; {option} allows {max_bytes} for all of them")


def says_full(error: OSError | sqlite3.Error) -> bool:
    """Whether it is for want of room that something could not be done."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
