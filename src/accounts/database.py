"""Who may come in: names, passwords as argon2id hashes, roles and defaults, in a SQLite file or in memory.

    python3 src/userdb.py add|passwd|remove|list|set NAME [--roles …] [--model …] [--hz …] [--rotate …]

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
import os
import secrets
import sqlite3
import threading
import time
import unicodedata
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import argon2

from imageserver import files
from imageserver.errors import SettingError

ROLES = ("camera", "viewer", "admin")
"""camera: send frames and sessions, get their results; viewer: read the figures; admin: also train and delete."""

ROTATIONS = (0, 90, 180, 270)
MAX_NAME = 128
"""Characters."""
MAX_PASSWORD = 1024
"""Bytes."""
_LONGEST = MAX_PASSWORD * 3 // 2
"""Characters of a text that may have MAX_PASSWORD bytes once it is composed: no character has more parts for a byte."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, password TEXT NOT NULL, roles TEXT NOT NULL, model TEXT, hz REAL, rotate INTEGER NOT NULL
) STRICT
"""


@dataclass(frozen=True)
class User:
    """Somebody who may come in, with what their streams have until they ask for something else."""

    name: str
    roles: frozenset[str] = frozenset({"camera"})
    model: str | None = None
    """None: the server's default."""
    hz: float | None = None
    """Most frames a second processed of each stream; None: the server's default."""
    rotate: int = 0
    """Clockwise degrees that turn this user's pictures upright."""
    only: tuple[str, ...] = ()
    """Names of the cameras that this user is bound to; empty: to none."""


class UserDB:
    """The users in the SQLite file `path`, or in memory when it is None.

    A file that does not exist holds no user; the first `add` makes it, readable by its owner alone. Every method may
    raise SettingError, whose text is for the operator: it names the file when that cannot be used.
    """

    def __init__(self, path: Path | None, hasher: argon2.PasswordHasher | None = None) -> None:
        self.path = path
        self._hasher = hasher or argon2.PasswordHasher()
        self._memory = None if path else sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        if self._memory is not None:
            weakref.finalize(self, self._memory.close)
        self._lock = threading.Lock()
        self._nobody = _unmatchable(self._hasher)

    def check(self, name: str, password: str) -> User | None:
        """The user of that name when the password is right, else None, which takes as long. Hashes: see above."""
        name, password = _normal(name), _normal(password)
        found = self._find(name)
        stored = found[1] if found else self._nobody
        # A password too long is cut, so that it costs no more, and never matches.
        fits = _encodable(password) and len(password.encode()) <= MAX_PASSWORD
        try:
            self._hasher.verify(stored, password if fits else "")
        except argon2.exceptions.VerifyMismatchError:
            return None
        except argon2.exceptions.InvalidHashError:
            raise SettingError(
                f"the stored password of {name!r} is damaged: set it anew with  python3 src/userdb.py passwd"
            ) from None
        if found is None or not fits:
            return None
        if self._hasher.check_needs_rehash(stored):
            renewed = self._hasher.hash(password)
            with self._connection() as connection:
                connection.execute(
                    "UPDATE users SET password = ? WHERE name = ? AND password = ?", (renewed, name, stored)
                )
        return found[0]

    def get(self, name: str) -> User | None:
        """The user of that name."""
        found = self._find(_normal(name))
        return found[0] if found else None

    def list(self) -> Sequence[User]:
        """All users by name."""
        return [user for user, _stored in self._select("")]

    def any(self) -> bool:
        """Whether there is a user at all."""
        with self._connection() as connection:
            return connection.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None

    def add(
        self,
        name: str,
        password: str,
        roles: Iterable[str] = ("camera",),
        model: str | None = None,
        hz: float | None = None,
        rotate: int = 0,
    ) -> User:
        """A new user. SettingError when the name is taken or any value is not allowed."""
        user = checked(User(_normal(name), frozenset(roles), model, hz, rotate))
        stored = self._hasher.hash(checked_password(password))
        with self._connection(create=True) as connection:
            try:
                connection.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)", (user.name, stored, *_columns(user)))
            except sqlite3.IntegrityError:
                raise taken(user.name) from None
        return user

    def passwd(self, name: str, password: str) -> None:
        """A new password for a user. SettingError when there is none of that name."""
        stored = self._hasher.hash(checked_password(password))
        self._change("UPDATE users SET password = ? WHERE name = ?", (stored, _normal(name)), name)

    def set(self, user: User) -> None:
        """Store everything of `user` but the password: `db.set(dataclasses.replace(db.get("alice"), hz=5.0))`."""
        statement = "UPDATE users SET roles = ?, model = ?, hz = ?, rotate = ? WHERE name = ?"
        self._change(statement, (*_columns(checked(user)), user.name), user.name)

    def remove(self, name: str) -> None:
        """Let that user in no more. SettingError when there is none of that name."""
        self._change("DELETE FROM users WHERE name = ?", (_normal(name),), name)

    def _change(self, statement: str, values: tuple[object, ...], name: str) -> None:
        with self._connection() as connection:
            changed = connection.execute(statement, values).rowcount
        if not changed:
            raise missing(name)

    def _find(self, name: str) -> tuple[User, str] | None:
        """The user of that normal name and the stored hash."""
        found = self._select("WHERE name = ?", name) if _encodable(name) else []
        return found[0] if found else None

    def _select(self, condition: str, *values: str) -> Sequence[tuple[User, str]]:
        columns = "name, password, roles, model, hz, rotate"
        with self._connection() as connection:
            query = f"SELECT {columns} FROM users {condition} ORDER BY name"  # noqa: S608 - no text of a client's in it
            rows = connection.execute(query, values).fetchall()
        return [
            (User(name, frozenset(roles.split()), model, hz, rotate), stored)
            for name, stored, roles, model, hz, rotate in rows
        ]

    @contextlib.contextmanager
    def _connection(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection to use from this thread; for a file a fresh one, which sees what others changed (0.1 ms)."""
        if self._memory is not None:
            with self._lock:
                self._memory.execute(_SCHEMA)
                yield self._memory
            return
        assert self.path is not None
        try:
            if create:
                _create_private(self.path)
            source = self.path if self.path.exists() else ":memory:"  # looking must not make a file
            with contextlib.closing(sqlite3.connect(source, timeout=5, isolation_level=None)) as connection:
                # A user who was removed must not come back with the power.
                connection.execute("PRAGMA synchronous = EXTRA")
                if create or source == ":memory:":
                    connection.execute(_SCHEMA)
                yield connection
        except (sqlite3.DatabaseError, OSError) as error:
            reason = f"the user database {self.path} cannot be used ({error})"
            raise SettingError(f"{reason}: check its owner and rights, or name another with --users") from error


class Verifier:
    """`check` for clients that show their password with every request: remembers what was right for a while.

    Remembered is a keyed digest of name, password and stored hash under a key that only this process has; so no
    password stays in memory, and an entry is void once the user's password changes. Roles and defaults are read anew
    each time.
    """

    def __init__(
        self, users: UserDB, seconds: float = 60.0, most: int = 1024, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._users, self._seconds, self._most, self._clock = users, seconds, most, clock
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, name: str, password: str) -> User | None:
        """The user when this very pair was right lately. Never hashes, so it needs no turn; None says nothing."""
        found = self._users._find(_normal(name))
        if found is None:
            return None
        digest = self._digest(found, password)
        with self._lock:
            if self._until.get(digest, 0.0) <= self._clock():
                self._until.pop(digest, None)
                return None
        return found[0]

    def check(self, name: str, password: str) -> User | None:
        """Like `UserDB.check`, at the price of a look-up when the pair was right within the last `seconds`."""
        user = self.recall(name, password) or self._users.check(name, password)
        # Looked up again, since `check` may have renewed the hash.
        found = self._users._find(user.name) if user else None
        if user and found:
            digest = self._digest(found, password)
            with self._lock:
                self._until.setdefault(digest, self._clock() + self._seconds)
                while len(self._until) > self._most:
                    self._until.popitem(last=False)
        return user

    def _digest(self, found: tuple[User, str], password: str) -> bytes:
        parts = [part.encode("utf-8", "surrogatepass") for part in (found[0].name, found[1], _normal(password))]
        return hmac.digest(self._key, b"".join(len(part).to_bytes(8, "big") + part for part in parts), hashlib.sha256)


def taken(name: str) -> SettingError:
    """What to say of a new user whose name is another's."""
    return SettingError(f"there is a user {name!r} already: change it with passwd or set, or remove it first")


def missing(name: str) -> SettingError:
    """What to say of a user who is not there."""
    return SettingError(f"there is no user {name!r}; list shows them all")


def checked(user: User) -> User:
    """`user` when all of it is allowed, else SettingError."""
    name = user.name
    if (
        not name
        or len(name) > MAX_NAME
        or not name.isprintable()
        or not _encodable(name)
        or name != name.strip()
        or ":" in name
    ):
        rule = f"it takes 1 to {MAX_NAME} visible characters, no colon, no space at either end"
        raise SettingError(f"{name!r} cannot be a user's name: {rule}")
    unknown = user.roles.difference(ROLES)
    if unknown or not user.roles:
        raise SettingError(
            f"{', '.join(sorted(unknown)) or 'no role'!r} cannot be a user's roles: they are {', '.join(ROLES)}"
        )
    if user.model is not None and not (user.model and user.model.isprintable() and " " not in user.model):
        raise SettingError(f"{user.model!r} cannot be the name of a model")
    if user.hz is not None and not 0 <= user.hz <= 1000:
        raise SettingError(f"hz is {user.hz:g}, but it takes a number from 0 (no cap) to 1000")
    if user.rotate not in ROTATIONS:
        raise SettingError(f"rotate is {user.rotate}, but it takes one of {', '.join(map(str, ROTATIONS))}")
    return user


def checked_password(password: str) -> str:
    """`password` as it is hashed, when it is allowed, else SettingError."""
    password = _normal(password)
    if not password or not _encodable(password) or len(password.encode()) > MAX_PASSWORD or "\0" in password:
        raise SettingError(f"a password takes 1 to {MAX_PASSWORD} bytes of text")
    return password


def _normal(text: str) -> str:
    """One form for what different keyboards compose differently (é as one character or two); "" for what is too long.

    Measured first: 100,000 accents on one letter take half a minute to compose, and nothing else runs meanwhile.
    """
    return unicodedata.normalize("NFC", text) if len(text) <= _LONGEST else ""


def _encodable(text: str) -> bool:
    """Whether it holds no half of a surrogate pair, which JSON can bring and UTF-8 cannot hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _columns(user: User) -> tuple[str, str | None, float | None, int]:
    return " ".join(role for role in ROLES if role in user.roles), user.model, user.hz, user.rotate


def _unmatchable(hasher: argon2.PasswordHasher) -> str:
    """A hash that no password has and that takes as long to verify as those of `hasher`."""
    salt, tag = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${tag}"


def _create_private(path: Path) -> None:
    """Make the file, for its owner alone; when root does, for the owner of the folder, as whom the server runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.chown(path, folder.st_uid, folder.st_gid)
        files.sync(path.parent)
