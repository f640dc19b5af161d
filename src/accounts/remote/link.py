"""The process that talks to PostgreSQL, as the server sees it: what it is asked, what it tells, whether it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from imageserver import limits as all_limits
from imageserver import metrics, news
from imageserver.config.database import DatabaseAddress
from imageserver.errors import LimitExceeded, SidecarLost, UsersUnavailable
from imageserver.jail.rules import Jail
from imageserver.limits import Limits
from imageserver.news import NewsKind
from imageserver.sidecar.process import Sidecar
from imageserver.transport import hub

PROGRAM = "accounts.postgresql.process"
NAME = "the process for the users' database"
ANSWER_WITHIN = 8.0
"""Seconds; the process itself gives up what takes longer than five."""
FIRST_WITHIN = 10.0
"""Seconds at the start after which a database that has not answered is taken for gone."""

GONE = "the users' database does not answer: who logged in lately stays, others have to wait"
"""For anybody: without an address."""


class UsersLink:
    """Asks for users in PostgreSQL. While the database is gone whoever asks is told at once.

    Args:
        address: Where they are.
        limits: Of tokens and page sessions, and `users_queue`.
        jail: Of the process.
        log: Takes a line for the log.
    """

    def __init__(self, address: DatabaseAddress, limits: Limits, jail: Jail, log: Callable[[str], None]) -> None:
        self.path, self.copy = address, None
        self.committed = 0
        """Changes that were made from here since the start."""
        self.changed = hub.Event()
        """Set whenever users may be others than before; whoever waits for that clears it."""
        self._log, self._why = log, f"the users' database {address} has not answered yet"
        self._up, self._decided = False, hub.Event()
        opening = {
            "op": "open",
            "address": address.full,
            "home": str(Path.home()),  # its own is another, and libpq looks there for passwords
            "limits": {field.name: getattr(limits, field.name) for field in fields(Limits)},
        }
        self._sidecar = Sidecar(
            NAME, PROGRAM, jail, opening, told=self._told, most=limits.users_queue, limit="users_queue", warn=log
        )

    def start(self) -> None:
        """Start the process, and wait until the database has answered or not. SettingError: there is no driver."""
        metrics.DATABASE_UP.child("users").value = 0
        if not self._sidecar.begin(self._decided, FIRST_WITHIN):
            self._log(f"{self._why}; it is tried again until it does")

    def stop(self) -> None:
        """End the process."""
        self._sidecar.stop()

    @property
    def problem(self) -> str:
        """A sentence for anybody while the database does not answer, else ""."""
        return "" if self._up else GONE

    def ask(self, what: str, *values: Any) -> Any:
        """The answer to a question; waits green. UsersUnavailable, and what the method of `UserDB` raises."""
        if not self._up:
            raise UsersUnavailable(self._why)
        try:
            return self._sidecar.ask(what, *values, seconds=ANSWER_WITHIN)
        except SidecarLost as error:
            raise UsersUnavailable(str(error)) from None

    def change(self, what: str, *values: Any) -> Any:
        """`ask` for what changes something."""
        found = self.ask(what, *values)
        self.committed += 1
        return found

    def reserve(self, owner: str, name: str) -> float | None:
        """Ask the guard of all front ends for an attempt to log in; one that is reserved has to be settled.

        Returns:
            0.0: it is reserved; else the seconds to wait. None: the database is gone, and each guards for itself.
        """
        try:
            return float(self.ask("reserve", owner, name))
        except (UsersUnavailable, LimitExceeded):
            return None

    def settle(self, owner: str, name: str, outcome: str) -> None:
        """Tell that guard what came out: "right", "wrong" or "released"; where it is gone, nobody needs to know."""
        with contextlib.suppress(UsersUnavailable, LimitExceeded):
            self.ask("settle", owner, name, outcome)

    def _told(self, what: str, value: Any) -> None:
        """What the process says unasked."""
        match what:
            case "up":
                self._is(True, "")
            case "gone":
                self._is(False, value or f"{NAME} has ended")
            case "changed":
                self.changed.set()
            case "hit":
                all_limits.hit(*value)
            case "log":
                self._log(value)
            case "failed":
                self._is(False, value)

    def _is(self, up: bool, why: str) -> None:
        first, before = not self._decided.is_set(), self._up
        self._up, self._why = up, why
        self._decided.set()
        metrics.DATABASE_UP.child("users").value = int(up)
        if up and not before and not first:
            self._log(f"the users' database {self.path} answers again")
            news.tell(NewsKind.USERS_DATABASE, "the users' database answers again")
        elif not up and (before or first):
            self._log(f"{why}; it is tried again until it answers. Who logged in lately stays, others have to wait")
            news.tell(NewsKind.USERS_DATABASE, GONE)
        self.changed.set()
