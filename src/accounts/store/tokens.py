"""Tokens: what programs show in place of a name and password. They have roles and an end, are listed and revoked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from imageserver.accounts.store import bearer, changes
from imageserver.accounts.store.base import Store
from imageserver.accounts.store.changes import ChangeKind
from imageserver.accounts.store.rows import USER_COLUMNS, find, stored_name, user_of
from imageserver.accounts.store.sql import SqlConnection
from imageserver.accounts.store.users import User, checked_roles, encodable, in_order, normal
from imageserver.errors import LimitExceeded, SettingError

MAX_TOKEN_NAME = 64
"""Characters."""
MAX_DAYS = 3650
_DAY = 86_400.0
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""It is later than that: a clock that says otherwise has not been set since the machine started."""
_INSERT = 'INSERT INTO tokens (id, digest, "user", name, roles, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?)'
_MARKED_EVERY = 3600.0
"""Seconds between two writes of when a token was last used."""


@dataclass(frozen=True)
class Token:
    """What is known of a token; not its secret. Times are in seconds since 1970."""

    identity: str
    user: str
    name: str
    """What its owner calls it, such as the program that has it; may be ""."""
    roles: frozenset[str]
    """As they were given; its owner must have them as well."""
    created: float
    expires: float | None
    """None: never."""
    used: float | None
    """When it was last used, to the hour; None: never."""


def is_token(text: str) -> bool:
    """Whether this has the form of a token, so that it is no password."""
    return bearer.parsed(text, bearer.TOKEN) is not None


class TokenStore(Store):
    """Tokens in the database."""

    def add_token(
        self, user: str, roles: Iterable[str] = (), days: float | None = None, name: str = "", by: str = ""
    ) -> tuple[Token, str]:
        """A new token of a user, and its text, which is to be had here only.

        Args:
            user: The user's name.
            roles: Some of the user's; () are all of them. Once the user has lost one, so has the token.
            days: After how many it ends, more than 0 to 3650; None: never.
            name: At most 64 visible characters.
            by: Who makes it, for `changes`.

        Raises:
            SettingError: There is no such user, or any value is not allowed.
            LimitExceeded: The user has `max_tokens` already.
        """
        now = self._clock()
        expires = None if days is None else now + _checked_days(days, now) * _DAY
        text, secret = bearer.made(bearer.TOKEN)
        with self._transaction() as connection:
            owner = find(connection, user)
            its_roles = frozenset(roles) or owner.roles
            token = Token(secret.identity, owner.name, _checked_name(name), its_roles, now, expires, None)
            checked_roles(token.roles, "a token's")
            if lacking := [role for role in in_order(token.roles) if not owner.has(role)]:
                raise SettingError(f"{owner.name!r} has not the role {lacking[0]}, so no token of theirs can have it")
            self._make_room(connection, owner.name, now)
            words = in_order(token.roles)
            values = (token.identity, secret.digest, token.user, token.name, " ".join(words), now, expires)
            connection.execute(_INSERT, values)
            detail = f"{token.identity} {token.name!r}, roles {','.join(words)}, {_end(expires)}"
            changes.record(connection, now, ChangeKind.TOKEN_ADDED, token.user, by, detail)
        return token, text

    def check_token(self, secret: str, user: str | None = None) -> User | None:
        """The user of that token, with the token's roles, else None. Costs a look-up, and hashes no password.

        Args:
            secret: The token, any text.
            user: A name that must be the user's, for clients that show a token in place of a password.
        """
        shown = bearer.parsed(secret, bearer.TOKEN)
        if shown is None:
            return None
        now = self._clock()
        with self._connection() as connection:
            row = connection.execute(
                f"SELECT digest, tokens.roles, expires, used, {USER_COLUMNS} "  # noqa: S608 - no text of a client's
                'FROM tokens JOIN accounts ON accounts.name = "user" WHERE id = ?',
                (shown.identity,),
            ).fetchone()
        if row is None or not shown.is_of(row[0]) or (row[2] is not None and row[2] <= now):
            return None
        found = user_of(row[4:], f"token {shown.identity}", row[1])
        if not found.roles or (user is not None and normal(user) != found.name):
            return None
        if row[3] is None or abs(now - row[3]) >= _MARKED_EVERY:  # in the future: the clock was wrong then
            self._marks.note(("tokens", shown.identity), now)
        return found

    def tokens(self, user: str | None = None) -> Sequence[Token]:
        """The tokens of a user, or all of them, by user and age; those that have expired as well."""
        whose, values = ("", ()) if user is None else ('WHERE "user" = ?', (stored_name(user),))
        query = (
            f'SELECT id, "user", name, roles, created, expires, used FROM tokens {whose} '  # noqa: S608 - constants
            'ORDER BY "user", created, id'
        )
        with self._connection() as connection:
            rows = connection.execute(query, values).fetchall()
        return [
            Token(identity, owner, name, frozenset(roles.split()), created, expires, used)
            for identity, owner, name, roles, created, expires, used in rows
        ]

    def _make_room(self, connection: SqlConnection, user: str, now: float) -> None:
        """Forget expired tokens of a user who has as many as may be. LimitExceeded."""
        most = self._limits.max_tokens
        count = 'SELECT count(*) FROM tokens WHERE "user" = ?'
        if connection.execute(count, (user,)).fetchone()[0] < most:
            return
        connection.execute('DELETE FROM tokens WHERE "user" = ? AND expires <= ?', (user, now))
        if connection.execute(count, (user,)).fetchone()[0] >= most:
            raise LimitExceeded(f"{user!r} has {most} tokens, and more are not allowed: revoke one", "max_tokens")


def _checked_days(days: float, now: float) -> float:
    if not 0 < days <= MAX_DAYS:
        raise SettingError(f"days is {days:g}, but a token lasts more than 0 and at most {MAX_DAYS} days, or for ever")
    if now < _EARLIEST:
        raise SettingError(
            f"the clock of this machine says {_minute(now)}, so a token of {days:g} days would have ended once it is "
            "right: set it first (timedatectl), or make a token without an end"
        )
    return days


def _checked_name(name: str) -> str:
    fits = len(name) <= MAX_TOKEN_NAME and name.isprintable() and encodable(name) and name == name.strip()
    if not fits:
        rule = f"it takes at most {MAX_TOKEN_NAME} visible characters, no space at either end"
        raise SettingError(f"{name[:MAX_TOKEN_NAME]!r} cannot be a token's name: {rule}")
    return normal(name)


def _end(expires: float | None) -> str:
    return "without an end" if expires is None else f"until {_minute(expires)}"


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
