"""Logins that were right lately, for while the users' database is gone: nothing else is asked of them then.

Remembered is a keyed digest of what was shown, under a key that this process alone has, so no secret stays in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from imageserver.accounts.credentials import Credentials
from imageserver.accounts.store.users import User

MOST = 10_000
"""Logins; who was right longest ago is forgotten first."""

Entry = tuple[bytes, User]


class Remembered:
    """What was right within the last `seconds`; 0: nothing is remembered.

    Where the users have changed each is in doubt until it was looked up: `doubt`, `doubtful`, `looked_up`. In doubt it
    holds still: the database may be gone at that moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, tuple[float, User]] = OrderedDict()
        self._doubtful: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._right)

    def note(self, shown: Credentials, user: User | None) -> None:
        """What came out when these were looked up; None: they are wrong."""
        if not self._seconds:
            return
        key = self._digest(shown)
        if user is None:
            self._forget(key)
            return
        self._right[key] = self._clock() + self._seconds, user
        self._right.move_to_end(key)
        while self._right and (len(self._right) > MOST or next(iter(self._right.values()))[0] <= self._clock()):
            self._forget(next(iter(self._right)))

    def recall(self, shown: Credentials) -> User | None:
        """Whose these were lately; None: nobody knows."""
        until, user = self._right.get(self._digest(shown), (0.0, None))
        return user if until > self._clock() else None

    def doubt(self) -> None:
        """Users have changed."""
        self._doubtful = dict.fromkeys(self._right)

    def doubtful(self, most: int) -> Sequence[Entry]:
        """Some of those in doubt, at most so many."""
        keys = [key for key, _none in zip(self._doubtful, range(most), strict=False)]
        return [(key, self._right[key][1]) for key in keys]

    def looked_up(self, entries: Sequence[Entry], hold: Sequence[bool]) -> None:
        """Whether they hold."""
        for (key, _user), holds in zip(entries, hold, strict=True):
            self._doubtful.pop(key, None)
            if not holds:
                self._forget(key)

    def forget(self, over: Callable[[User], bool]) -> None:
        """What users showed for whom this is so holds no longer."""
        for key in [key for key, (_until, user) in self._right.items() if over(user)]:
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        self._right.pop(key, None)
        self._doubtful.pop(key, None)

    def _digest(self, shown: Credentials) -> bytes:
        parts = [part.encode("utf-8", "surrogatepass") for part in (shown.kind.value, shown.name, shown.secret)]
        return hmac.digest(self._key, b"".join(len(part).to_bytes(8, "big") + part for part in parts), hashlib.sha256)
