"""Checking who is there, for every protocol: off the loop, bounded, counted.

Hashing a password costs tens of milliseconds and megabytes, so only a few run at once and a bounded number
may wait; the rest is refused at once. When credentials are not asked for, every name is accepted as it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from imageserver import metrics
from imageserver.accounts.audit import NO_AUDIT, Audit
from imageserver.accounts.database import ROLES, User, UserDB, Verifier
from imageserver.errors import LimitExceeded, SettingError
from imageserver.limits import Limits, hit
from imageserver.transport import hub
from imageserver.transport.budget import owner_of

MINUTE = 60.0


class Logins:
    """The one check of names and passwords that every door shares.

    Args:
        users: Where names and passwords are.
        limits: `login_threads` passwords are hashed at once, `login_queue` may wait, and after `login_attempts`
            refusals within a minute an address has to wait until the oldest is a minute ago.
        required: Whether credentials are asked for everywhere (`--auth`).
        log: Takes a line for the log.
        clock: Monotonic seconds.
        audit: Where logins are noted, and what else doors that have a `Logins` have to note.
    """

    def __init__(
        self,
        users: UserDB,
        limits: Limits,
        *,
        required: bool,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        audit: Audit = NO_AUDIT,
    ) -> None:
        self.users, self.required, self.audit = users, required, audit
        self._limits, self._log, self._clock = limits, log, clock
        self._verifier = Verifier(users, clock=clock)
        self._verified: dict[str, User] = {}  # by connection
        self._refusals: dict[str, deque[float]] = {}  # when, by address or network; who was refused last stands last
        self._waiting = 0
        self._hashing = hub.Semaphore(limits.login_threads)

    def check(self, name: str, password: str, address: str, *, always: bool = False) -> User | None:
        """Who this is, or None when the credentials are wrong; waits green.

        Args:
            name: As the client gave it.
            password: As the client gave it.
            address: The client's.
            always: Check though credentials are not required; else every name passes then, with the defaults of a known
                user of that name.

        Raises:
            LimitExceeded: Too many logins wait, or too many from this address were refused.
        """
        if self.required or always:
            user = self._verify(name, password, address)
            if user is None:
                self._log(f"login of {name[:64]!r} from {address} refused: unknown name or wrong password")
                self._remember(owner_of(address))
        else:
            user = self._known(name) or User(name, frozenset(ROLES))
        metrics.LOGINS.inc("accepted" if user else "refused")
        return user

    def login(self, connection: str, name: str, password: str, address: str) -> User | None:
        """`check`, and remember for this connection who proved to be there (`verified`) until `forget`."""
        user = proven = self.check(name, password, address)
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

    def checked(self) -> bool:
        """Whether credentials count that come with each request (REST): with `--auth`, or once there is a user."""
        return self.required or hub.in_thread(self.users.any)

    def _known(self, name: str) -> User | None:
        try:
            return hub.in_thread(self.users.get, name)
        except SettingError as error:
            self._log(f"the users cannot be read: {error}")
            return None

    def _verify(self, name: str, password: str, address: str) -> User | None:
        """The user of that name and password, within the limits; raises as `check` does."""
        try:
            # Clients of REST show their password with every request: what was right a moment ago need not wait.
            if lately := hub.in_thread(self._verifier.recall, name, password):
                return lately
            if self._waiting >= self._limits.login_queue:
                hit("login_queue")
                raise LimitExceeded("too many logins wait at this moment; try again in a few seconds")
            if self._must_wait(owner_of(address)):
                hit("login_attempts")
                raise LimitExceeded(
                    f"{self._limits.login_attempts} logins from {address} were refused within a minute; "
                    "try again in a minute"
                )
            self._waiting += 1
            try:
                with self._hashing:
                    return hub.in_thread(self._verifier.check, name, password)
            finally:
                self._waiting -= 1
        except SettingError as error:
            self._log(f"nobody can log in: {error}")
            return None

    def _remember(self, owner: str) -> None:
        """A login of theirs was refused."""
        if self._limits.login_attempts:
            times = self._refusals.pop(owner, None) or deque(maxlen=self._limits.login_attempts)
            times.append(self._clock())
            self._refusals[owner] = times  # behind those that were refused earlier

    def _must_wait(self, owner: str) -> bool:
        """Whether they were refused too often; forgets those whose last refusal is over a minute ago."""
        since = self._clock() - MINUTE
        while self._refusals and next(iter(self._refusals.values()))[-1] < since:
            del self._refusals[next(iter(self._refusals))]
        times = self._refusals.get(owner, ())
        return sum(when >= since for when in times) >= self._limits.login_attempts > 0
