"""Logins that connections live on, and the end of those that hold no longer.

A request shows its credentials and is over; a connection stays. So whoever lets one in for a login registers it here:

    login = logins.live.add(user, end)      # `end(sentence)` closes the connection
    login.close()                           # the connection has ended by itself

A user who was removed, another password or other roles, a token that was revoked or expired, a page session that has
ended: within two seconds `end` is called. While the users cannot be read, nobody is ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from imageserver.accounts.audit import Audit, AuditEvent
from imageserver.accounts.database import User
from imageserver.accounts.remote.asking import Users, ask
from imageserver.accounts.remote.remembered import Remembered
from imageserver.accounts.remote.users import RemoteUsers
from imageserver.errors import SettingError, describe
from imageserver.transport import fairness, hub

LOOK_EVERY = 1.0
"""Seconds."""
NOT_BEFORE = 0.1
"""Seconds between two looks, however much changes."""
AT_ONCE = 500
"""Logins that are looked up in one go, a few milliseconds in a thread."""
ENDED_AT_ONCE = 16
"""Connections, in one turn of the loop."""

ENDED = (
    "this login no longer holds: the user, the password or the roles were changed, or the token or page session ended"
)

_Key = tuple[str, str, str]
"""Name, stamp and credential: what all connections of one login have in common."""


class LiveLogin:
    """A connection that lives on a login."""

    __slots__ = ("_group", "end")

    def __init__(self, group: _Group, end: Callable[[str], None]) -> None:
        self._group, self.end = group, end

    def close(self) -> None:
        """The connection has ended; harmless when that was said before."""
        self._group.remove(self)


class _Group:
    """The connections of one login."""

    __slots__ = ("_empty", "members", "user")

    def __init__(self, user: User, empty: Callable[[_Group], None]) -> None:
        self.user, self._empty = user, empty
        self.members: dict[LiveLogin, None] = {}

    def remove(self, login: LiveLogin) -> None:
        if login in self.members:
            del self.members[login]
            if not self.members:
                self._empty(self)


class LiveLogins:
    """Who is connected by which login.

    Args:
        users: Says which of them hold.
        log: Takes a line.
        audit: Where the end of connections is noted.
        remembered: Logins that hold while the database is gone: what holds no longer is forgotten there, too.
    """

    def __init__(
        self, users: Users, log: Callable[[str], None], audit: Audit, remembered: Remembered | None = None
    ) -> None:
        self._users, self._log, self._audit = users, log, audit
        self._remembered = Remembered(0.0) if remembered is None else remembered  # an empty one is false
        self._groups: dict[_Key, _Group] = {}
        self._new: set[_Key] = set()  # not looked up yet: they may have been revoked as they came
        self._revision: object = None
        self._reading = True

    def add(self, user: User, end: Callable[[str], None]) -> LiveLogin:
        """A connection that was let in as `user`; `end` is called with a sentence, once, if that holds no longer."""
        key = _key(user)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(user, self._drop)
        self._new.add(key)
        login = LiveLogin(group, end)
        group.members[login] = None
        return login

    def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            self._wait()
            self.look()

    def _wait(self) -> None:
        """Until it is time to look again: at once, where a database says that something has changed."""
        if isinstance(self._users, RemoteUsers):
            self._users.changed.wait(LOOK_EVERY)
            self._users.changed.clear()
            hub.sleep(NOT_BEFORE)
        else:
            hub.sleep(LOOK_EVERY)

    def look(self) -> None:
        """End what holds no longer, if anything has changed; waits green."""
        if not self._groups and not self._remembered:
            return
        try:
            revision = ask(self._users, self._users.revision)
            if revision != self._revision:
                self._new.update(self._groups)
                self._remembered.doubt()
                self._revision = revision
            while some := self._remembered.doubtful(AT_ONCE):
                self._remembered.looked_up(some, ask(self._users, self._users.current, [user for _key, user in some]))
            while self._new:
                self._look_up(list(itertools.islice(self._new, AT_ONCE)))
            if not self._reading:
                self._log("whose login holds no longer is seen again")
            self._reading = True
        except SettingError as error:
            if self._reading:
                self._log(f"whose login holds no longer cannot be seen now, so all stay: {error}")
            self._reading = False

    def _look_up(self, keys: Sequence[_Key]) -> None:
        groups = [self._groups[key] for key in keys if key in self._groups]
        holds = ask(self._users, self._users.current, [group.user for group in groups])
        self._new.difference_update(keys)
        over = {_key(group.user) for group, held in zip(groups, holds, strict=True) if not held}
        if over:  # the database may be gone before what is remembered is in doubt
            self._remembered.forget(lambda user: _key(user) in over)
        for group, held in zip(groups, holds, strict=True):
            if not held:
                self._end(group)

    def _end(self, group: _Group) -> None:
        members, user = list(group.members), group.user
        self._drop(group)
        self._log(f"the login of {user.name!r} ({user.credential}) no longer holds: {len(members)} connections end")
        self._audit.note(
            AuditEvent.DISCONNECTION, user=user.name, credential=user.credential, detail="the login no longer holds"
        )
        for some in _batches(members):
            for login in some:
                group.members.pop(login, None)
                try:
                    login.end(ENDED)
                except Exception as error:  # noqa: BLE001 - the others have to end all the same
                    self._log(f"a connection whose login no longer holds could not be ended: {describe(error)}")
            fairness.pause()

    def _drop(self, group: _Group) -> None:
        key = _key(group.user)
        if self._groups.get(key) is group:
            del self._groups[key]
            self._new.discard(key)


def _key(user: User) -> _Key:
    return user.name, user.stamp, user.credential


def _batches(members: Sequence[LiveLogin]) -> Iterable[Sequence[LiveLogin]]:
    return (members[first : first + ENDED_AT_ONCE] for first in range(0, len(members), ENDED_AT_ONCE))
