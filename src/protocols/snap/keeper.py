"""Keeps pictures without holding the loop: every look at the disk is a short job in a thread, and few run at once."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, TypeVar

from imageserver import limits, metrics
from imageserver.errors import LimitExceeded, Refused, TimedOut, describe
from imageserver.inference.shared.request_bodies import Bytes
from imageserver.protocols.snap import pages
from imageserver.protocols.snap.pages import ListPage
from imageserver.protocols.snap.pictures import PictureStore, Row, Sender, Sight, says_full
from imageserver.protocols.snap.turns import DISK_JOBS, DiskTurns
from imageserver.transport import hub
from imageserver.transport.threads import Threads

IMAGE_PIECE = 256 * 2**10
"""Bytes of a picture that are read at once, and so what a slow reader of it holds."""

RETRY = 60.0
"""Seconds after which a disk that could not be used is tried again."""

LOOK_EVERY, COUNT_EVERY, REST = 2.0, 30.0, 20
"""Where others write, too: seconds between two looks for what they put, and between two counts of all pictures; and at
least so many times what these took."""

_KEEP, _READ, _DELETE, _TIDY = "kept", "read", "deleted", "removed where they are over the limits"
"""What cannot be done with pictures, as the log says it."""

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
"""No fault of the disk's; the log is told of it where connections are taken."""

T = TypeVar("T")


class Keeper:
    """The pictures of `store`.

    Args:
        log: takes a line about what the operator can mend.
        threads: where the store may hang; None: in those of everybody.
        lists: lists that may wait (`snippet_lists`).
    """

    def __init__(
        self, store: PictureStore, log: Callable[[str], None], threads: Threads | None = None, *, lists: int = 64
    ) -> None:
        self._store, self._log = store, log
        # A list of many files is Python's own work, and beside several of them the loop would wait for its lock.
        self._turns = DiskTurns(threads, 1 if store.others else DISK_JOBS, lists)
        self._tidying = False
        self._failing: set[str] = set()  # what cannot be done; the log was told when it began
        self._refused = self._changes = 0  # pictures since then; how often some came or went
        self._look_at = self._looked = 0.0  # when to look for what others put; seconds that looks took since

    @property
    def changes(self) -> int:
        """How often pictures came or went; where others write, too, they may have done so every few seconds."""
        if self._store.others and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + max(LOOK_EVERY, min(REST * self._looked, RETRY))
            self._looked = 0.0
            self._changes += 1
        return self._changes

    def begin(self) -> None:
        """Remove what a crash left and what is over the limits; spawn it at the start. Beside others it goes on."""
        while True:
            took = self._repair()
            self._tidy()
            if not self._store.others:
                return
            hub.sleep(max(COUNT_EVERY, REST * took))

    def _repair(self) -> float:
        """Go on until it is done; returns how many seconds it took at last."""
        looks_alone = self._store.others
        files = records = 0
        while True:
            begun, steps = time.monotonic(), self._store.repair()
            try:
                while found := self._turns.later(next, steps, None):
                    files, records = files + found.files, records + found.records
                took = time.monotonic() - begun
                break
            except (OSError, sqlite3.Error) as error:
                self._failed(_READ if looks_alone else _KEEP, error)
                hub.sleep(RETRY)
        self._works(*((_READ,) if looks_alone else (_KEEP, _READ, _DELETE)))
        if self._store.copy is not None:
            self._log(f"records of pictures were taken over from an older server; {self._store.copy} is what they were")
        if files or records:
            self._log(f"a crash left {files} pictures without a record and {records} records without one: removed")
        return took

    def close(self, timeout: float) -> None:
        """Close the database, so that nothing of it is left in a log; waits green for at most `timeout` seconds."""
        with contextlib.suppress(TimedOut, OSError, sqlite3.Error), hub.Timeout(timeout):
            hub.in_thread(self._store.close)

    def check(self, size: int) -> None:
        """TooLarge for a picture of `size` bytes that could never be kept."""
        self._store.check(size)

    def put(
        self,
        identity: int,
        kind: str,
        picture: Bytes,
        received: str,
        prediction: dict[str, Any],
        sender: Sender,
    ) -> None:
        """Keep a picture; the log tells of the first one that cannot be, and when they can again.

        Raises:
            Refused: it cannot be kept now (507, 503), or what `sender.check` raises.
            LimitExceeded: all threads are at the disk for others.
        """
        try:
            room = self._turns.step(self._store.put, identity, kind, picture, received, prediction, sender)
        except LimitExceeded:
            metrics.SNIPPETS_REFUSED.inc()
            raise
        except (OSError, sqlite3.Error) as error:
            self._failed(_KEEP, error)
            self._refused += 1
            metrics.SNIPPETS_REFUSED.inc()
            raise _unusable(error) from error
        self._changes += 1
        self._works(_KEEP, _READ, _DELETE, *(() if room.more else (_TIDY,)))
        if room.limit:
            limits.hit(room.limit, f"user {sender.owner}" if sender.owner else "")
        if room.more:
            hub.spawn(self._tidy, identity)

    def delete(self, identity: int) -> bool:
        """Forget an id; returns whether there was one. Refused: 507 or 503 when the disk does not let it."""
        newest = self.find(identity)
        number = newest.number if newest else self._looking(self._store.unreadable, identity)
        if not number:
            return False
        try:
            while self._turns.step(self._store.delete, identity, number):
                pass
        except (OSError, sqlite3.Error) as error:
            self._failed(_DELETE, error)
            raise _unusable(error) from error
        finally:
            self._changes += 1
        self._works(_DELETE)
        return True

    def find(self, identity: int) -> Row | None:
        """The newest picture of an id."""
        rows, _following = self._looking(self._store.history, identity)
        return rows[0] if rows else None

    def open(self, row: Row) -> tuple[BinaryIO, bytes]:
        """A picture's file, and the first piece of it. FileNotFoundError: another took its place; Refused: 503."""
        try:
            return self._turns.step(_open, self._store, row)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._failed(_READ, error)
            raise _unusable(error) from error

    def read(self, file: BinaryIO) -> bytes:
        """The next piece of a file; b"" at its end."""
        return self._turns.step(file.read, IMAGE_PIECE)

    def rows(self, most: int, sight: Sight) -> Sequence[Row]:
        """The newest picture of each id, at most so many; for the server itself, one at a time."""
        with self._turns.listing(None):
            begun = time.monotonic()
            found = self._looking(self._store.newest, -1, most, sight)
            self._looked += time.monotonic() - begun
        return found.rows

    def newest(self, after: int, most: int, sight: Sight, owner: str) -> ListPage:
        """As pages.newest, for `owner`, as accounts of memory name them. LimitExceeded: too many lists wait."""
        with self._turns.listing(owner):
            return self._looking(pages.newest, self._store, after, most, sight)

    def history(self, identity: int, before: int, most: int, sight: Sight, owner: str) -> ListPage | None:
        """As pages.history, for `owner`. LimitExceeded: too many lists wait."""
        with self._turns.listing(owner):
            return self._looking(pages.history, self._store, identity, before, most, sight)

    def _tidy(self, identity: int = -1) -> None:
        """Remove what is over the limits, a piece at a time; one green thread does so."""
        if self._tidying:
            return
        self._tidying = True
        try:
            while self._turns.later(self._store.tidy, identity):
                pass
            self._works(_TIDY)
        except (OSError, sqlite3.Error) as error:
            self._failed(_TIDY, error)
        finally:
            self._tidying = False

    def _failed(self, what: str, error: Exception) -> None:
        """Tell the log once, until all can be done again."""
        if getattr(error, "errno", None) in _NO_DESCRIPTOR:
            return
        if not self._failing:
            self._log(f"pictures cannot be {what}: {describe(error)}")
        self._failing.add(what)
        metrics.DISK_FAILING.child("snippets").value = 1

    def _works(self, *what: str) -> None:
        """This can be done; the log is told when nothing is left that cannot."""
        before = bool(self._failing)
        self._failing.difference_update(what)
        if before and not self._failing:
            self._log(f"pictures can be kept again; {self._refused} could not be")
            self._refused = 0
            metrics.DISK_FAILING.child("snippets").value = 0

    def _looking(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function`, which reads records, in its turn. Refused: 507 or 503 when they cannot be read."""
        try:
            found = self._turns.step(function, *args)
        except (OSError, sqlite3.Error) as error:
            self._failed(_READ, error)
            raise _unusable(error) from error
        self._works(_READ)
        return found


def _unusable(error: OSError | sqlite3.Error) -> Refused:
    if says_full(error):
        sentence = "the server cannot keep pictures now, its disk may be full; its log says why"
        return Refused(507, sentence, Retry_After="60")
    if getattr(error, "errno", None) in _NO_DESCRIPTOR:
        return Refused(503, "the server has too many files open at this moment; try again", Retry_After="5")
    return Refused(503, "the server cannot use the disk of its pictures now; its log says why", Retry_After="60")


def _open(store: PictureStore, row: Row) -> tuple[BinaryIO, bytes]:
    file = store.open(row)
    try:
        return file, file.read(-1 if store.others else IMAGE_PIECE)
    except BaseException:
        file.close()
        raise
