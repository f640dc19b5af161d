"""Checking who is there, for every protocol: off the loop, bounded, counted.

Hashing a password costs tens of milliseconds and megabytes, so only a few run at once and a bounded number
may wait; the rest is refused at once. When credentials are not asked for, every name is accepted as it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from imageserver import metrics
from imageserver.accounts.database import ROLES, User, UserDB, Verifier
from imageserver.errors import LimitExceeded, SettingError
from imageserver.transport import hub

MINUTE = 60.0


class Logins:
    """`users` is where names and passwords are; `required`: whether credentials are checked (`--auth`).

    After `attempts` refusals within a minute (0: no limit) an address has to wait until the oldest is a minute ago.
    """

    def __init__(
        self,
        users: UserDB,
        *,
        required: bool,
        concurrent: int,
        max_waiting: int,
        attempts: int,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.users, self.required = users, required
        self._attempts, self._clock = attempts, clock
        self._verifier = Verifier(users, clock=clock)
        self._verified: dict[str, User] = {}
        self._failures: dict[str, deque[float]] = {}
        self._max_waiting = max_waiting
        self._waiting = 0
        self._turns = hub.Semaphore(concurrent)
        self._log = log

    def check(self, name: str, password: str, address: str, *, always: bool = False) -> User | None:
        """Who this is, or None when the credentials are wrong; waits green.

        Without `required` every name passes, with the defaults of a known user of that name; `always` checks all the
        same. LimitExceeded when too many logins wait, or too many were refused.
        """
        if self.required or always:
            user = self._verify(name, password, address)
            if user is None:
                self._failures.setdefault(address, deque()).append(self._clock())
                self._log(f"login of {name[:64]!r} from {address} refused: unknown name or wrong password")
        else:
            user = self._known(name) or User(name, frozenset(ROLES))
        metrics.LOGINS.inc("accepted" if user else "refused")
        return user

    def login(self, connection: str, name: str, password: str, address: str) -> User | None:
        """`check`, and remember for this connection who proved to be there (`verified`) until `forget`."""
        user = self.check(name, password, address)
        proven = user
        if not self.required:
            proven = self._verify(name, password, address) if self._known(name) else None
        if proven is not None:
            self._verified[connection] = proven
        return user

    def verified(self, connection: str) -> User | None:
        """The user whose password this connection has shown, whether or not that was required."""
        return self._verified.get(connection)

    def forget(self, connection: str) -> None:
        """The connection has ended."""
        self._verified.pop(connection, None)

    def _known(self, name: str) -> User | None:
        try:
            return hub.in_thread(self.users.get, name)
        except SettingError as error:
            self._log(f"the users cannot be read: {error}")
            return None

    def _verify(self, name: str, password: str, address: str) -> User | None:
        """The user of that name and password, within the limits; raises as `check` does."""
        try:
            # Clients of REST show their password with every request: what was right a moment ago needs no turn.
            if lately := hub.in_thread(self._verifier.recall, name, password):
                return lately
            if self._waiting >= self._max_waiting:
                metrics.LIMITS_HIT.inc("login-queue")
                raise LimitExceeded("too many logins wait at this moment; try again in a few seconds")
            if self._must_wait(address):
                metrics.LIMITS_HIT.inc("login-attempts")
                raise LimitExceeded(
                    f"{self._attempts} logins from {address} were refused within a minute; try again in a minute"
                )
            self._waiting += 1
            try:
                with self._turns:
                    return hub.in_thread(self._verifier.check, name, password)
            finally:
                self._waiting -= 1
        except SettingError as error:
            self._log(f"nobody can log in: {error}")
            return None

    def _must_wait(self, address: str) -> bool:
        """Whether this address was refused too often; forgets what is over a minute ago, everywhere."""
        if not self._attempts:
            return False
        since = self._clock() - MINUTE
        for other in list(self._failures):
            times = self._failures[other]
            while times and times[0] < since:
                times.popleft()
            if not times:
                del self._failures[other]
        return len(self._failures.get(address, ())) >= self._attempts

    def checked(self) -> bool:
        """Whether credentials are checked for those requests that always carry them: with `--auth`, or once a user exists."""
        return self.required or hub.in_thread(self.users.any)
