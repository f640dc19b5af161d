"""The tables of the database of users, their version, and how a database of an older server is taken over.

The stamp of a user and the revision of the whole are changed by triggers, so what somebody edits by hand with sqlite3
counts like what a method does.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from imageserver import files
from imageserver.errors import UsersUnavailable

VERSION = 2
"""`PRAGMA user_version` of what this server writes; 0 is that of servers whose only table was `users`, 1 of those that
knew no name for the camera of a user."""

_MIGRATION_PATIENCE = 30.0
"""Seconds to wait for another process that takes the same database over."""

_MAKING = ".users-making-"
"""Of folders for what is being made beside the database."""

_BEFORE = ("name", "password", "roles", "model", "hz", "rotate")
"""The columns of `users` at version 0."""

_NEW_STAMP = "lower(hex(randomblob(8)))"

_TABLES = (
    f"""CREATE TABLE accounts (
        name TEXT PRIMARY KEY, password TEXT NOT NULL, roles TEXT NOT NULL, model TEXT, hz REAL,
        rotate INTEGER NOT NULL DEFAULT 0, cameras TEXT NOT NULL DEFAULT '', stamp TEXT NOT NULL DEFAULT ({_NEW_STAMP}),
        renewals INTEGER NOT NULL DEFAULT 0, camera TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    """CREATE TABLE tokens (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL, roles TEXT NOT NULL,
        created REAL NOT NULL, expires REAL, used REAL
    ) STRICT""",
    "CREATE INDEX tokens_by_user ON tokens (user)",
    "CREATE INDEX tokens_by_end ON tokens (expires)",
    """CREATE TABLE pages (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, user TEXT NOT NULL, address TEXT NOT NULL, begun REAL NOT NULL,
        seen REAL NOT NULL
    ) STRICT""",
    "CREATE INDEX pages_by_user ON pages (user)",
    "CREATE INDEX pages_by_begin ON pages (begun)",
    "CREATE INDEX pages_by_use ON pages (seen)",
    """CREATE TABLE changes (
        number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, user TEXT NOT NULL,
        by TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT""",
    f"CREATE TABLE revision (value TEXT NOT NULL DEFAULT ({_NEW_STAMP})) STRICT",
    "INSERT INTO revision DEFAULT VALUES",
)
"""`cameras`, to which the user is bound, holds a name a line; `camera` is what the user's own is called; `renewals`
counts hashes that were renewed while the password stayed the same."""

_STAMPS = (
    f"""CREATE TRIGGER account_changed AFTER UPDATE OF password, roles, cameras ON accounts
    WHEN (OLD.password <> NEW.password AND OLD.renewals = NEW.renewals)
        OR OLD.roles <> NEW.roles OR OLD.cameras <> NEW.cameras
    BEGIN
        UPDATE accounts SET stamp = {_NEW_STAMP} WHERE name = NEW.name;
        DELETE FROM pages WHERE user = NEW.name;
    END""",  # noqa: S608 - constants
    # REPLACE removes a row without the trigger for that.
    """CREATE TRIGGER account_added AFTER INSERT ON accounts BEGIN
        DELETE FROM tokens WHERE user = NEW.name;
        DELETE FROM pages WHERE user = NEW.name;
    END""",
    """CREATE TRIGGER account_renamed AFTER UPDATE OF name ON accounts WHEN OLD.name <> NEW.name BEGIN
        DELETE FROM tokens WHERE user = OLD.name;
        DELETE FROM pages WHERE user = OLD.name;
    END""",
    """CREATE TRIGGER account_removed AFTER DELETE ON accounts BEGIN
        DELETE FROM tokens WHERE user = OLD.name;
        DELETE FROM pages WHERE user = OLD.name;
    END""",
)

_WATCHED = {
    "accounts": ("INSERT", "DELETE", "UPDATE"),
    "tokens": ("INSERT", "DELETE", "UPDATE OF id, digest, user, name, roles, expires"),
    "pages": ("INSERT", "DELETE", "UPDATE OF id, digest, user"),
}
"""What makes another revision; that a token or a page session was used does not."""

_REVISIONS = tuple(
    f"CREATE TRIGGER revision_{table}_{number} AFTER {action} ON {table} "  # noqa: S608 - constants
    f"BEGIN UPDATE revision SET value = {_NEW_STAMP}; END"
    for table, actions in _WATCHED.items()
    for number, action in enumerate(actions)
)

_FOR_OLD_SERVERS = (
    'CREATE VIEW users AS SELECT * FROM "it is of a newer server: use that one, '
    'or put back the copy of the one before, whose name ends in .before-1"'
)
"""Servers of version 0 look into `users` and know no versions. This fails, and SQLite's sentence names what lacks."""

_SINCE_1 = ("ALTER TABLE accounts ADD COLUMN camera TEXT NOT NULL DEFAULT ''", f"PRAGMA user_version = {VERSION}")
"""What brings a database of version 1 up to date."""

SCHEMA = (*_TABLES, *_STAMPS, *_REVISIONS, _FOR_OLD_SERVERS, f"PRAGMA user_version = {VERSION}")


def fill(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database. sqlite3.Error."""
    for statement in SCHEMA:
        connection.execute(statement)


def opened(path: Path, patience: float, taken_over: Callable[[Path], None]) -> sqlite3.Connection:
    """A connection, for one thread at a time, to a database that is there; one of an older server is taken over.

    Args:
        path: The file.
        patience: Seconds to wait for others who write.
        taken_over: Told where the database of an older server is kept as it was.

    Raises:
        UsersUnavailable: Its version is newer than this server, or its tables are none of an older one.
        sqlite3.Error, OSError: It cannot be used, or no copy can be kept of it.
    """
    # Never made by looking, even when it goes away at this moment.
    source = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(source, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        # A user who was removed must not come back with the power.
        connection.execute("PRAGMA synchronous = EXTRA")
        if version(connection, path) != VERSION:
            copy = _take_over(connection, path)
            connection.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
            if copy is not None:
                taken_over(copy)
    except BaseException:
        connection.close()
        raise
    return connection


def version(connection: sqlite3.Connection, path: Path) -> int:
    """That of a database. UsersUnavailable: it is newer than this server; sqlite3.Error."""
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise UsersUnavailable(
            f"the user database {path} is of version {found}, and this server knows versions up to {VERSION}: "
            f"start the newer server, or put back the copy that it kept ({path.name}.before-{found})"
        )
    return found


def _take_over(connection: sqlite3.Connection, path: Path) -> Path | None:
    """Bring the tables up to date in one transaction, after a copy of the file was made beside it, which is returned.

    None: another process did so at this moment.
    """
    copy = None
    connection.execute(f"PRAGMA busy_timeout = {round(_MIGRATION_PATIENCE * 1000)}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = version(connection, path)
        if found == 0:
            _check_is_before(connection, path)
        if found != VERSION:
            copy = _keep_copy(path, found + 1)
            _bring_up_to_date(connection, found)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return copy


def _bring_up_to_date(connection: sqlite3.Connection, found: int) -> None:
    """Change the tables of version `found`, in the transaction of the caller. sqlite3.Error."""
    if found == 0:
        connection.execute("ALTER TABLE users RENAME TO before")
        fill(connection)
        columns = ", ".join(_BEFORE)
        connection.execute(f"INSERT INTO accounts ({columns}) SELECT {columns} FROM before")  # noqa: S608 - constants
        connection.execute("DROP TABLE before")
        return
    for statement in _SINCE_1:
        connection.execute(statement)


def _check_is_before(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    tables = [name for (name,) in found]
    if tables == ["users"] and tuple(row[1] for row in connection.execute("PRAGMA table_info(users)")) == _BEFORE:
        return
    raise UsersUnavailable(
        f"the user database {path} holds no users, or not as any server stored them "
        f"(version 0, tables: {', '.join(tables)[:200] or 'none'}): put back a copy, or name another with --users"
    )


def _keep_copy(path: Path, version: int) -> Path:
    """Write `<name>.before-<version>` beside the database, and return it; another that is there keeps its name.

    `version` is the one after what it holds, and so each older server finds its own copy under the same name.
    """
    status = path.stat()
    with files.making(path.parent, _MAKING) as folder:
        copy = folder / "copy"
        # Not as bytes: closing the file would give up SQLite's locks on it, and a log of writes would be left out.
        with (
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        _make_private(copy, status)
        number, kept = 1, path.with_name(f"{path.name}.before-{version}")
        while not (_put(copy, kept) or filecmp.cmp(copy, kept, shallow=False)):
            number += 1
            kept = path.with_name(f"{path.name}.before-{version}.{number}")
        return kept


def create(path: Path) -> None:
    """Make a database without users, for its owner alone; when root does, for the owner of the folder.

    The server runs as that one. One that is there already stays as it is. sqlite3.Error, OSError.
    """
    if os.path.lexists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.making(path.parent, _MAKING) as folder:
        new = folder / "new"
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            fill(connection)
            connection.execute("COMMIT")
        _make_private(new, path.parent.stat())
        _put(new, path)


def _make_private(path: Path, like: os.stat_result) -> None:
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, like.st_uid, like.st_gid)
    files.sync(path)


def _put(made: Path, target: Path) -> bool:
    """Give what was made its name, when nothing else has it; returns whether it is done."""
    try:
        os.link(made, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without links, such as that of USB sticks
        if os.path.lexists(target):
            return False
        made.rename(target)
    files.sync(target.parent)
    return True
