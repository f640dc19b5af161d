"""Changes of users, tokens and page sessions, followed into the audit.

Another program makes them too (userdb.py), also while no server runs: the database keeps a list of them, and which of
it the audit has is remembered in the data folder. A change may be noted twice, after a crash or when another database
is put in place; none is left out, unless 10,000 follow it before the server looks.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from imageserver import files
from imageserver.accounts.audit import AuditEvent, AuditFile
from imageserver.accounts.remote.asking import Users, ask
from imageserver.accounts.store.changes import Change, ChangeKind
from imageserver.errors import UsersUnavailable
from imageserver.transport import hub

KEPT = "audit-users.json"
"""The file in the data folder that says which change was noted last."""

EVERY = 1.0
"""Seconds between two looks."""

_EVENTS = {
    ChangeKind.USER_ADDED: AuditEvent.USER_ADDED,
    ChangeKind.USER_CHANGED: AuditEvent.USER_CHANGED,
    ChangeKind.PASSWORD_CHANGED: AuditEvent.PASSWORD_CHANGED,
    ChangeKind.USER_REMOVED: AuditEvent.USER_REMOVED,
    ChangeKind.TOKEN_ADDED: AuditEvent.TOKEN_MADE,
    ChangeKind.TOKEN_REVOKED: AuditEvent.TOKEN_REVOKED,
    ChangeKind.PAGE_REVOKED: AuditEvent.PAGE_REVOKED,
}


class UserChanges:
    """Writes what is new in the list of changes to the audit.

    Args:
        users: the database.
        audit: where changes are noted.
        kept: the file that remembers the last one; None: it is not remembered, as of a database in memory.
        log: takes a line for the log.
    """

    def __init__(self, users: Users, audit: AuditFile, kept: Path | None, log: Callable[[str], None]) -> None:
        self._users, self._audit, self._kept, self._log = users, audit, kept, log
        self._number, self._time = _read(kept) if kept else (0, 0.0)
        self._revision: object = None
        self._told = False

    def run(self) -> None:
        """Look once a second, until the server ends."""
        while True:
            self.follow()
            hub.sleep(EVERY)

    def follow(self) -> None:
        """Write what is new; waits green."""
        try:
            revision = ask(self._users, self._users.revision)
            if revision == self._revision:
                return
            if self._number and not self._is_the_same():
                self._number = 0
            while new := ask(self._users, self._users.changes, self._number):
                if not hub.in_thread(self._write, new):
                    return
            self._revision, self._told = revision, False
        except UsersUnavailable as error:
            self._tell(f"--audit cannot follow the users: {error}")

    def _tell(self, sentence: str) -> None:
        """Log a sentence, once until all is well again."""
        if not self._told:
            self._log(sentence)
        self._told = True

    def _is_the_same(self) -> bool:
        """Whether this is the database of which the last change was noted: its list has that, or only later ones."""
        found = ask(self._users, self._users.changes, self._number - 1, 1)
        return bool(found) and (found[0].number > self._number or found[0].time == self._time)

    def _write(self, changes: Sequence[Change]) -> bool:
        entries = [
            (_EVENTS[change.kind], change.time, {"user": change.user, "by": change.by, "detail": change.detail})
            for change in changes
        ]
        if not self._audit.write(entries):
            self._tell("--audit cannot be written; what was changed about users is noted when it can")
            return False
        self._number, self._time = changes[-1].number, changes[-1].time
        if self._kept is not None:
            try:
                files.replace(self._kept, json.dumps([self._number, self._time]).encode(), 0o600)
            except OSError as error:
                self._log(f"{self._kept} cannot be written ({error.strerror}): --audit will note changes twice")
        return True


def _read(kept: Path) -> tuple[int, float]:
    """Number and time of the change that was noted last; zeros where that is not known."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        number, when = json.loads(files.read(kept, 1000))
        return int(number), float(when)
    return 0, 0.0
