"""The tables of the users in PostgreSQL, in a schema of their own, and how they are brought up to date.

Each migration has a number and is never changed once it was released: what comes later is a further one. They run in
one transaction under an advisory lock, so front ends may start at the same time.

As in SQLite triggers change the stamp of a user and the revision of the whole, so what somebody edits by hand with
psql counts. Each other revision is told to whoever listens on CHANNEL.
"""

from __future__ import annotations

import psycopg

from imageserver.errors import UsersUnavailable

SCHEMA = "imageserver"
CHANNEL = "imageserver_users"

MIGRATING, WRITING = 0x696D67736D696772, 0x696D677377726974
"""Advisory locks: of who brings the tables up to date, and of who changes users. One writes at a time, as in SQLite, so
the numbers of changes come in order and no bound is passed by two at once."""

OLDEST_SERVER = 130000
"""PostgreSQL 13: the first that makes random UUIDs itself."""

_STAMP = "left(replace(gen_random_uuid()::text, '-', ''), 16)"

_FIRST = (
    # COLLATE "C": sorted by code points, as SQLite does.
    f"""CREATE TABLE accounts (
        name text COLLATE "C" PRIMARY KEY, password text NOT NULL, roles text NOT NULL, model text,
        hz double precision, rotate integer NOT NULL DEFAULT 0, cameras text NOT NULL DEFAULT '',
        stamp text NOT NULL DEFAULT {_STAMP}, renewals integer NOT NULL DEFAULT 0, camera text NOT NULL DEFAULT ''
    )""",
    """CREATE TABLE tokens (
        id text COLLATE "C" PRIMARY KEY, digest bytea NOT NULL, "user" text COLLATE "C" NOT NULL, name text NOT NULL,
        roles text NOT NULL, created double precision NOT NULL, expires double precision, used double precision
    )""",
    'CREATE INDEX tokens_by_user ON tokens ("user")',
    "CREATE INDEX tokens_by_end ON tokens (expires)",
    """CREATE TABLE pages (
        id text COLLATE "C" PRIMARY KEY, digest bytea NOT NULL, "user" text COLLATE "C" NOT NULL,
        address text NOT NULL, begun double precision NOT NULL, seen double precision NOT NULL,
        rowid bigint GENERATED ALWAYS AS IDENTITY
    )""",
    'CREATE INDEX pages_by_user ON pages ("user")',
    "CREATE INDEX pages_by_begin ON pages (begun)",
    "CREATE INDEX pages_by_use ON pages (seen)",
    """CREATE TABLE changes (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, time double precision NOT NULL, kind text NOT NULL,
        "user" text NOT NULL, by text NOT NULL, detail text NOT NULL
    )""",
    f"CREATE TABLE revision (value text NOT NULL DEFAULT {_STAMP})",
    "INSERT INTO revision DEFAULT VALUES",
    # What was checked lately, for the login guard: all front ends count together.
    """CREATE TABLE failures (
        key text COLLATE "C" PRIMARY KEY, record jsonb NOT NULL, until double precision NOT NULL
    )""",
    "CREATE INDEX failures_by_end ON failures (until)",
    f"""CREATE FUNCTION account_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = {SCHEMA} AS $$
    BEGIN
        NEW.stamp := {_STAMP};
        DELETE FROM pages WHERE "user" = NEW.name;
        RETURN NEW;
    END $$""",  # noqa: S608 - constants
    """CREATE TRIGGER account_changed BEFORE UPDATE OF password, roles, cameras ON accounts FOR EACH ROW
    WHEN ((OLD.password <> NEW.password AND OLD.renewals = NEW.renewals)
        OR OLD.roles <> NEW.roles OR OLD.cameras <> NEW.cameras)
    EXECUTE FUNCTION account_changed()""",
    f"""CREATE FUNCTION account_is_another() RETURNS trigger LANGUAGE plpgsql SET search_path = {SCHEMA} AS $$
    DECLARE gone text := CASE TG_OP WHEN 'INSERT' THEN NEW.name ELSE OLD.name END;
    BEGIN
        DELETE FROM tokens WHERE "user" = gone;
        DELETE FROM pages WHERE "user" = gone;
        RETURN NULL;
    END $$""",  # noqa: S608 - constants
    """CREATE TRIGGER account_is_another AFTER INSERT OR DELETE ON accounts FOR EACH ROW
    EXECUTE FUNCTION account_is_another()""",
    """CREATE TRIGGER account_renamed AFTER UPDATE OF name ON accounts FOR EACH ROW WHEN (OLD.name <> NEW.name)
    EXECUTE FUNCTION account_is_another()""",
    f"""CREATE FUNCTION another_revision() RETURNS trigger LANGUAGE plpgsql SET search_path = {SCHEMA} AS $$
    BEGIN
        UPDATE revision SET value = {_STAMP};
        PERFORM pg_notify('{CHANNEL}', '');
        RETURN NULL;
    END $$""",  # noqa: S608 - constants
    """CREATE TRIGGER another_revision AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION another_revision()""",
    """CREATE TRIGGER another_revision AFTER INSERT OR DELETE OR TRUNCATE OR
        UPDATE OF id, digest, "user", name, roles, expires ON tokens
    FOR EACH STATEMENT EXECUTE FUNCTION another_revision()""",
    """CREATE TRIGGER another_revision AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF id, digest, "user" ON pages
    FOR EACH STATEMENT EXECUTE FUNCTION another_revision()""",
)

_AUDIT = (
    """CREATE TABLE audit (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, time timestamptz NOT NULL, front_end text NOT NULL,
        line jsonb NOT NULL
    )""",
    "CREATE INDEX audit_by_time ON audit (time)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _AUDIT)
"""The first brings an empty schema to version 1, and so on."""

VERSION = len(MIGRATIONS)


def bring_up_to_date(connection: psycopg.Connection, place: str) -> None:
    """Make the tables, or bring those of an older server up to date; where they are so, only look.

    Args:
        connection: In autocommit.
        place: What sentences call the database.

    Raises:
        UsersUnavailable: It is of a newer version than this server, or of a PostgreSQL that is too old.
        psycopg.Error: It cannot be done.
    """
    if connection.info.server_version < OLDEST_SERVER:
        raise UsersUnavailable(
            f"the users' database {place} is a PostgreSQL {connection.info.server_version // 10000}, "
            f"and this server needs {OLDEST_SERVER // 10000} or newer"
        )
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise UsersUnavailable(f"the users' database {place} is not in UTF8: make it with  createdb -E UTF8")
    if version(connection, place) == VERSION:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATING,))
        found = version(connection, place)
        if found == VERSION:  # another front end did so at this moment
            return
        if not found:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute("SELECT set_config('search_path', %s, true)", (SCHEMA,))
        if not found:
            connection.execute("CREATE TABLE version (number integer NOT NULL)")
            connection.execute("INSERT INTO version VALUES (0)")
        for statements in MIGRATIONS[found:]:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
        connection.execute("UPDATE version SET number = %s", (VERSION,))


def version(connection: psycopg.Connection, place: str) -> int:
    """That of the tables, 0 where there are none. UsersUnavailable: it is newer than this server; psycopg.Error."""
    # Not to_regclass: within a transaction it knows nothing of what others have made since that began.
    found_in = "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'version'"
    if connection.execute(found_in, (SCHEMA,)).fetchone() is None:
        return 0
    row = connection.execute(f"SELECT number FROM {SCHEMA}.version").fetchone()  # noqa: S608 - a constant
    found = int(row[0]) if row else 0
    if found > VERSION:
        raise UsersUnavailable(
            f"the users' database {place} is of version {found}, and this server knows versions up to {VERSION}: "
            "start the newer server on every machine, or put back a copy of the database (pg_restore)"
        )
    return found
