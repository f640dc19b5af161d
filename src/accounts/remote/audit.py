"""The audits of several front ends in one table: what each writes to its file is sent there, too, as it comes.

The file is what holds: what is sent waits in memory while the database is gone, and the oldest of too much is left
out. Changes of users are not sent; they are in the database since they were made (store/changes.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from imageserver import metrics
from imageserver.accounts.remote.users import RemoteUsers
from imageserver.errors import LimitExceeded, UsersUnavailable
from imageserver.limits import Limits, hit
from imageserver.transport import hub

EVERY = 1.0
"""Seconds."""
AT_ONCE = 200
"""Lines in one message."""


class SharedAudit:
    """Sends lines; `run` it.

    Args:
        users: Their database.
        front_end: Whose lines these are.
        limits: `audit_queue`.
        log: Takes a line about what the operator can look into, once.
    """

    def __init__(self, users: RemoteUsers, front_end: str, limits: Limits, log: Callable[[str], None]) -> None:
        self._users, self._front_end, self._log = users, front_end, log
        self._told = False
        self._most = limits.audit_queue
        self._lines: deque[str] = deque()

    def add(self, line: str) -> None:
        """Send this line soon; never blocks, in any thread."""
        self._lines.append(line)
        if len(self._lines) > self._most:
            self._lines.popleft()
            hit("audit_queue")

    def run(self) -> None:
        """Send, until the server ends."""
        while True:
            hub.sleep(EVERY)
            self.send()

    def send(self) -> None:
        """Send what waits, while the database takes it; waits green."""
        while self._lines:
            some = [self._lines.popleft() for _ in range(min(AT_ONCE, len(self._lines)))]
            try:
                refused, why = self._users.ask("note", self._front_end, some)
            except (UsersUnavailable, LimitExceeded):
                self._lines.extendleft(reversed(some))
                return
            if refused:
                self._refused(refused, why)

    def _refused(self, count: int, why: str) -> None:
        """The database answers, and does not take so many lines: they would be in the way of all others for ever."""
        metrics.AUDIT_REFUSED.child().inc(count)
        if not self._told:
            self._told = True
            self._log(f"the users' database does not take a line of the audit, which is in the file alone: {why}")
