"""Who may come in: names, passwords as argon2id hashes, tokens and page sessions, in a SQLite file or in memory.

    python3 src/userdb.py add|passwd|remove|list|set|token|tokens|revoke|sessions …

Everything here blocks: a look-up for a fraction of a millisecond, hashing a password for tens of milliseconds and
64 MiB of memory. The server calls it in native threads, and bounds how many hash at once. All of it is thread-safe,
and nothing is cached that the command could change behind the server's back.

Parameters are those of RFC 9106, second recommended option (64 MiB, 3 passes, 4 lanes), argon2-cffi's default.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import argon2

from imageserver import folders
from imageserver.accounts.store import changes
from imageserver.accounts.store.changes import Change, ChangeKind
from imageserver.accounts.store.pages import LIVE_PAGE, PageSession, PageStore
from imageserver.accounts.store.rows import USER_COLUMNS, columns, difference, find, in_words, user_of
from imageserver.accounts.store.sql import Database, SqlConnection
from imageserver.accounts.store.tokens import Token, TokenStore, is_token
from imageserver.accounts.store.users import (
    MAX_NAME,
    MAX_PASSWORD,
    ROLES,
    ROTATIONS,
    User,
    checked,
    checked_password,
    encodable,
    normal,
    taken,
)
from imageserver.errors import SettingError, UsersUnavailable
from imageserver.limits import Limits

__all__ = [
    "MAX_NAME",
    "ROLES",
    "ROTATIONS",
    "Change",
    "ChangeKind",
    "PageSession",
    "Token",
    "User",
    "UserDB",
    "Verifier",
    "is_token",
]

_PATIENCE = 1.0
"""Seconds to wait for who writes to the file; clients wait meanwhile."""


class UserDB(TokenStore, PageStore):
    """The users in the SQLite file `path`, or in memory when it is None, with their tokens and page sessions.

    A file that does not exist holds no user; the first `add` makes it, readable by its owner alone. Every method may
    raise SettingError, whose text is for the operator; when the file cannot be used it is UsersUnavailable. What
    changes something takes `by`, the name of who does it, for `changes`.

    Args:
        path: The file; one of an older server is taken over at the first use, and a copy of it kept. Or a database of
            several front ends.
        hasher: Of passwords.
        limits: `max_tokens`, `max_pages`, `page_idle` and `page_time`; None: their defaults.
        clock: Seconds since 1970.
        patience: Seconds to wait for others who write to the file.
    """

    def __init__(
        self,
        path: Path | Database | None,
        hasher: argon2.PasswordHasher | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        patience: float = _PATIENCE,
    ) -> None:
        super().__init__(path, limits, clock, patience)
        self._hasher = hasher or argon2.PasswordHasher()
        self._nobody = _unmatchable(self._hasher)

    def check(self, name: str, password: str) -> User | None:
        """The user of that name when the password is right, else None, which takes as long. Hashes: see above."""
        name, password = normal(name), normal(password)
        found = self.find(name)
        stored = found[1] if found else self._nobody
        # A password too long is cut, so that it costs no more, and never matches.
        fits = encodable(password) and len(password.encode()) <= MAX_PASSWORD
        try:
            self._hasher.verify(stored, password if fits else "")
        except argon2.exceptions.VerifyMismatchError:
            return None
        except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError) as error:
            raise UsersUnavailable(
                f"the password of {name!r} cannot be checked ({error}): where what is stored is damaged, "
                f"set it anew with  {folders.USERS_COMMAND} passwd; where memory lacks, see --login-threads"
            ) from None
        if found is None or not fits:
            return None
        if self._hasher.check_needs_rehash(stored):
            self._renew(found[0], stored, password)
        return replace(found[0], credential="password")

    def get(self, name: str) -> User | None:
        """The user of that name."""
        found = self.find(name)
        return found[0] if found else None

    def list(self) -> Sequence[User]:
        """All users by name."""
        return [user for user, _stored in self._select("")]

    def any(self) -> bool:
        """Whether there is a user at all; `closed` says whether there ever was one."""
        with self._connection() as connection:
            return connection.execute("SELECT 1 FROM accounts LIMIT 1").fetchone() is not None

    def add(
        self,
        name: str,
        password: str,
        roles: Iterable[str] = ("camera",),
        model: str | None = None,
        hz: float | None = None,
        rotate: int = 0,
        only: Iterable[str] = (),
        by: str = "",
        *,
        camera: str = "",
    ) -> User:
        """A new user. SettingError when the name is taken or any value is not allowed."""
        user = checked(User(normal(name), frozenset(roles), model, hz, rotate, tuple(only), camera))
        stored = self._hasher.hash(_new_password(password))
        with self._transaction(create=True) as connection:
            added = connection.execute(
                "INSERT INTO accounts (name, password, roles, model, hz, rotate, cameras, camera) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (user.name, stored, *columns(user)),
            )
            if not added.rowcount:
                raise taken(user.name)
            self._record(connection, ChangeKind.USER_ADDED, user.name, by, in_words(user))
        return self.get(user.name) or user

    def passwd(self, name: str, password: str, by: str = "") -> None:
        """A new password for a user, whose page sessions end. SettingError when there is none of that name."""
        stored = self._hasher.hash(_new_password(password))
        with self._transaction() as connection:
            user = find(connection, name)
            connection.execute("UPDATE accounts SET password = ? WHERE name = ?", (stored, user.name))
            self._record(connection, ChangeKind.PASSWORD_CHANGED, user.name, by)

    def set(self, user: User, by: str = "") -> None:
        """Store everything of `user` but the password: `db.set(dataclasses.replace(db.get("alice"), hz=5.0))`.

        Their page sessions end when roles or cameras are others than before.
        """
        user = checked(user)
        settings = "roles = ?, model = ?, hz = ?, rotate = ?, cameras = ?, camera = ?"
        statement = f"UPDATE accounts SET {settings} WHERE name = ?"  # noqa: S608 - constants
        with self._transaction() as connection:
            before = find(connection, user.name)
            connection.execute(statement, (*columns(user), before.name))
            if changed := difference(before, user):
                self._record(connection, ChangeKind.USER_CHANGED, before.name, by, changed)

    def remove(self, name: str, by: str = "") -> None:
        """Let that user in no more, nor their tokens and page sessions. SettingError when there is none."""
        with self._transaction() as connection:
            user = find(connection, name)
            connection.execute("DELETE FROM accounts WHERE name = ?", (user.name,))
            self._record(connection, ChangeKind.USER_REMOVED, user.name, by)

    def revoke(self, identity: str, by: str = "") -> None:
        """End the token or page session of that id; a token's whole text will do. SettingError when there is none."""
        if is_token(identity):
            identity = identity.split("_")[1]
        kinds = {"tokens": ChangeKind.TOKEN_REVOKED, "pages": ChangeKind.PAGE_REVOKED}
        with self._transaction() as connection:
            for table, kind in kinds.items():
                deletion = f'DELETE FROM {table} WHERE id = ? RETURNING "user"'  # noqa: S608 - constants
                rows = connection.execute(deletion, (identity if encodable(identity) else "",)).fetchall()
                if rows:
                    self._record(connection, kind, rows[0][0], by, identity)
                    return
        raise SettingError("there is no token or page session of that id; tokens and sessions show them all")

    def current(self, users: Iterable[User]) -> Sequence[bool]:
        """Which of these logins hold still: the same stamp, and token or page session neither ended nor expired.

        Who has no stamp is in no database, and holds. Costs one look-up for all of them.
        """
        logins = tuple(users)
        now = self._clock()
        shown = [user.credential.partition(" ")[2] for user in logins]
        ids = json.dumps(sorted({identity for identity in shown if identity}))
        names = json.dumps(sorted({user.name for user in logins if user.stamp}))
        among = self._database.among
        with self._connection() as connection:
            accounts = f"SELECT name, stamp FROM accounts WHERE name {among}"  # noqa: S608 - constants, as below
            stamps = dict(connection.execute(accounts, (names,)).fetchall())
            lasting = f"id {among} AND (expires IS NULL OR expires > ?)"
            tokens = f"SELECT 'token ' || id FROM tokens WHERE {lasting}"  # noqa: S608
            pages = f"SELECT 'page ' || id FROM pages WHERE id {among} AND {LIVE_PAGE}"  # noqa: S608
            live = {row[0] for row in connection.execute(tokens, (ids, now))}
            live.update(row[0] for row in connection.execute(pages, (ids, *self._live(now))))
        return [
            not user.stamp or (stamps.get(user.name) == user.stamp and (not identity or user.credential in live))
            for user, identity in zip(logins, shown, strict=True)
        ]

    def _renew(self, user: User, stored: str, password: str) -> None:
        """Hash a right password anew, with parameters of today; when that cannot be written, at the next login."""
        renewed = self._hasher.hash(password)
        statement = "UPDATE accounts SET password = ?, renewals = renewals + 1 WHERE name = ? AND password = ?"
        with contextlib.suppress(UsersUnavailable), self._transaction() as connection:
            connection.execute(statement, (renewed, user.name, stored))

    def _record(self, connection: SqlConnection, kind: ChangeKind, user: str, by: str, detail: str = "") -> None:
        changes.record(connection, self._clock(), kind, user, by, detail)

    def find(self, name: str) -> tuple[User, str] | None:
        """The user of that name and the stored hash, for who checks passwords."""
        name = normal(name)
        found = self._select("WHERE name = ?", name) if encodable(name) else []
        return found[0] if found else None

    def _select(self, condition: str, *values: str) -> Sequence[tuple[User, str]]:
        query = f"SELECT password, {USER_COLUMNS} FROM accounts {condition} ORDER BY name"  # noqa: S608 - constants
        with self._connection() as connection:
            rows = connection.execute(query, values).fetchall()
        return [(user_of(row[1:]), row[0]) for row in rows]


_NOBODY = User(""), "$argon2id$v=19$m=65536,t=3,p=4$" + "." * 66
"""In place of a user and the stored hash."""


class Finder(Protocol):
    """Knows users by their names, and checks their passwords: a `UserDB`, or who asks one elsewhere."""

    def find(self, name: str) -> tuple[User, str] | None:
        """The user of that name and the stored hash."""

    def check(self, name: str, password: str) -> User | None:
        """The user of that name when the password is right."""


class Verifier:
    """`check` for clients that show their password with every request: remembers what was right for a while.

    Remembered is a keyed digest of name, password and stored hash under a key that only this process has; so no
    password stays in memory, and an entry is void once the user's password changes. Roles and defaults are read anew
    each time.
    """

    def __init__(
        self, users: Finder, seconds: float = 60.0, most: int = 1024, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._users, self._seconds, self._most, self._clock = users, seconds, most, clock
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, name: str, password: str) -> User | None:
        """The user when this very pair was right lately. Never hashes, so it needs no turn; None says nothing."""
        found = self._users.find(name)
        digest = self._digest(found or _NOBODY, password)  # also of nobody, or its time would tell
        with self._lock:
            if found is None or self._until.get(digest, 0.0) <= self._clock():
                self._until.pop(digest, None)
                return None
        return replace(found[0], credential="password")

    def check(self, name: str, password: str) -> User | None:
        """Like `UserDB.check`, at the price of a look-up when the pair was right within the last `seconds`."""
        return self.recall(name, password) or self.prove(name, password)

    def prove(self, name: str, password: str) -> User | None:
        """`UserDB.check`, and remember what was right. What is wrong costs the same whether there is such a user."""
        user = self._users.check(name, password)
        # Looked up again, since `check` may have renewed the hash.
        found = self._users.find(user.name) if user else None
        if user and found:
            digest = self._digest(found, password)
            with self._lock:
                self._until.setdefault(digest, self._clock() + self._seconds)
                while len(self._until) > self._most:
                    self._until.popitem(last=False)
        return user

    def _digest(self, found: tuple[User, str], password: str) -> bytes:
        parts = [part.encode("utf-8", "surrogatepass") for part in (found[0].name, found[1], normal(password))]
        return hmac.digest(self._key, b"".join(len(part).to_bytes(8, "big") + part for part in parts), hashlib.sha256)


def _new_password(password: str) -> str:
    """`password` as it is hashed, when it is allowed, else SettingError."""
    if is_token(password):
        raise SettingError("this is a token, and cannot be a password as well")
    return checked_password(password)


def _unmatchable(hasher: argon2.PasswordHasher) -> str:
    """A hash that no password has and that takes as long to verify as those of `hasher`."""
    salt, tag = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${tag}"
