"""The users in PostgreSQL: a pool of connections, transactions, and what is said when it fails. Blocks; thread-safe.

One connection watches: it listens for changes, asks every second whether the database answers, and while that is gone
tries again with a pause that differs for each front end. Meanwhile nothing else tries: whoever asks is told at once.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import psycopg_pool

from imageserver.accounts.postgresql import schema
from imageserver.accounts.postgresql.deadlines import Deadlines
from imageserver.config.database import DatabaseAddress
from imageserver.errors import UsersUnavailable, describe, kind_of

MOST = 8
"""Connections of one process, beside the one that watches."""
PATIENCE = 4.0
"""Seconds that a statement, a lock or a connection may take; then it counts as failed."""
_CONNECT_WITHIN = 3
"""Seconds; libpq takes whole ones."""
_IDLE = 300.0
"""Seconds after which a connection that nobody used is closed."""
_LOOK_EVERY = 1.0
"""Seconds between two looks whether the database answers."""
_PAUSES = (0.5, 1.5)
"""Seconds between two tries to connect: by chance between these, so that front ends do not come all at once."""


class Statements:
    """A connection as `UserDB` uses it: statements with `?` for each value."""

    __slots__ = ("_connection",)

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Run one statement."""
        return self._connection.execute(_translated(statement), tuple(values))


@functools.lru_cache(256)
def _translated(statement: str) -> Any:
    return statement.replace("%", "%%").replace("?", "%s")


class PostgreSQL:
    """A `Database` in PostgreSQL.

    Args:
        address: Where it is.
        changed: Called by a thread whenever something may have changed there.
        state: Called by a thread with "" whenever it answers again, and with a sentence when it does not any more.
        patience: Seconds that anything may take.
    """

    among = "IN (SELECT jsonb_array_elements_text(CAST(? AS jsonb)))"
    copy = None

    def __init__(
        self,
        address: DatabaseAddress,
        changed: Callable[[], None] = lambda: None,
        state: Callable[[str], None] = lambda _why: None,
        patience: float = PATIENCE,
    ) -> None:
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what fails is told once, by us
        self.place = address
        self._changed, self._state, self._patience = changed, state, patience
        self._settings: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": _CONNECT_WITHIN,
            "prepare_threshold": None,  # proxies that hand out sessions by the transaction know no prepared ones
            "fallback_application_name": "imageserver",
            "tcp_user_timeout": round(patience * 1000),
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
        }
        self._deadlines = Deadlines(patience + 1.0)
        self._pool = psycopg_pool.ConnectionPool(
            address.full,
            kwargs=self._settings,
            min_size=0,
            max_size=MOST,
            max_idle=_IDLE,
            timeout=patience,
            reconnect_timeout=patience,
            configure=self._configure,
            open=False,
        )
        self._gone = UsersUnavailable(f"the users' database {address} has not been asked yet")
        self._answers = threading.Event()
        self._tried = threading.Condition()
        self._attempts = 0
        self._stopping = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="users' database", daemon=True)

    def begin(self) -> None:
        """Connect, and stay connected: once."""
        self._pool.open()
        self._deadlines.start()
        self._watching.start()

    def wait(self, seconds: float) -> None:
        """Return when it answers, and its tables are as they should be. UsersUnavailable: why it does not."""
        with self._tried:
            self._tried.wait_for(lambda: self._answers.is_set() or self._attempts, seconds)
        if not self._answers.is_set():
            raise self._gone

    def close(self) -> None:
        """Close all connections."""
        self._stopping.set()
        self._pool.close(timeout=0)

    def closed(self) -> bool:
        """Whether there are users or ever were. UsersUnavailable: nobody knows."""
        with self.connection() as connection:
            query = "SELECT EXISTS (SELECT 1 FROM changes) OR EXISTS (SELECT 1 FROM accounts)"
            return bool(connection.execute(query).fetchone()[0])  # type: ignore[index,unused-ignore]

    @contextlib.contextmanager
    def connection(self) -> Iterator[Statements]:
        """A connection for this thread. UsersUnavailable."""
        with self._lent() as connection:
            yield Statements(connection)

    @contextlib.contextmanager
    def transaction(self, create: bool = False) -> Iterator[Statements]:
        """A connection within a transaction; no other one writes meanwhile, on any front end. UsersUnavailable."""
        del create  # its tables are there since it answers
        with self._lent() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (schema.WRITING,))
            yield Statements(connection)

    @contextlib.contextmanager
    def exclusively(self, locks: Sequence[int]) -> Iterator[psycopg.Connection]:
        """A transaction that nobody else has meanwhile who asks for one of these locks, in their order."""
        with self._lent() as connection, connection.transaction():
            for lock in locks:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
            yield connection

    # ---- within -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _lent(self) -> Iterator[psycopg.Connection]:
        if not self._answers.is_set():
            raise UsersUnavailable(str(self._gone))
        lent: psycopg.Connection | None = None
        try:
            with self._pool.connection() as lent, self._deadlines.of(lent):
                yield lent
        except psycopg.Error as error:
            unavailable = self._unusable(error)
            if lent is not None and lent.closed:
                self._lost(unavailable)
            raise unavailable from error

    def _configure(self, connection: psycopg.Connection) -> None:
        """What holds for a session: nothing may wait for ever, and what is committed is on the disk."""
        milliseconds = str(round(self._patience * 1000))
        connection.execute(
            "SELECT set_config('search_path', %s, false), set_config('statement_timeout', %s, false), "
            "set_config('lock_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false), "
            "set_config('synchronous_commit', CASE current_setting('synchronous_commit') "
            "WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)",
            (schema.SCHEMA, milliseconds, milliseconds, milliseconds),
        )

    def _watch(self) -> None:
        """Listen, look, and connect again, until the end."""
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self.place.full, **self._settings) as connection:
                    with self._deadlines.of(connection):
                        self._configure(connection)
                        schema.bring_up_to_date(connection, str(self.place))
                        connection.execute(f"LISTEN {schema.CHANNEL}")
                    self._found()
                    self._listen(connection)
            except UsersUnavailable as error:
                self._lost(error)
            except (psycopg.Error, OSError) as error:
                self._lost(self._unusable(error))
            except Exception as error:  # noqa: BLE001 - whatever we forgot: nobody else would try again
                why = f"the users' database {self.place} cannot be used ({kind_of(error)}): it is tried again"
                self._lost(UsersUnavailable(why))
            self._stopping.wait(random.uniform(*_PAUSES))

    def _listen(self, connection: psycopg.Connection) -> None:
        while not self._stopping.is_set():
            told = list(connection.notifies(timeout=_LOOK_EVERY, stop_after=1))
            if told:
                self._changed()
            if not self._answers.is_set():
                return  # a connection of the pool was lost
            with self._deadlines.of(connection):
                connection.execute("SELECT 1")

    def _found(self) -> None:
        """It answers: connections of before are of no use."""
        self._pool.drain()
        with self._tried:
            self._attempts += 1
            self._answers.set()
            self._tried.notify_all()
        self._state("")
        self._changed()

    def _lost(self, why: UsersUnavailable) -> None:
        """It does not answer."""
        with self._tried:
            known = self._attempts and not self._answers.is_set() and str(why) == str(self._gone)
            self._attempts += 1
            self._gone = why
            self._answers.clear()
            self._tried.notify_all()
        if not known:
            self._state(str(why))

    def _unusable(self, error: Exception) -> UsersUnavailable:
        """A sentence for the operator: what is wrong, and what to do."""
        reason = self.place.without_secrets(" ".join((str(error) or describe(error)).split()))
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            remedy = (
                f"give its user the right to make a schema there (GRANT CREATE ON DATABASE), or own {schema.SCHEMA}"
            )
        elif isinstance(error, psycopg.OperationalError | OSError):
            remedy = "see that it runs, and that this machine may log in there"
        else:
            remedy = "see to it, or put back a copy"
        return UsersUnavailable(f"the users' database {self.place} cannot be reached ({reason}): {remedy}")
