"""A PostgreSQL that runs, one for the session, and users in it who are gone before the next test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests import postgresql
from tests.accounts.store.conftest import Clock
from tests.passwords import CHEAP

from imageserver.accounts.database import UserDB
from imageserver.config import database
from imageserver.limits import Limits


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    with postgresql.running() as found:
        yield found


@pytest.fixture(scope="session")
def opened(cluster: postgresql.Cluster) -> Iterator[Any]:
    """A database with tables, and a pool of connections to it."""
    from imageserver.accounts.postgresql.database import PostgreSQL

    found = PostgreSQL(database.parsed(cluster.database()))
    found.begin()
    found.wait(10)
    yield found
    found.close()


@pytest.fixture
def place(opened: Any) -> Any:
    with opened.transaction() as connection:
        connection.execute("TRUNCATE accounts, tokens, pages, changes, failures RESTART IDENTITY")
    return opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(place: Any, clock: Clock) -> Callable[..., UserDB]:
    """As that of tests/accounts/store/."""

    def made(**limits: Any) -> UserDB:
        users = UserDB(place, CHEAP, Limits(**limits), clock)
        users.add("alice", "secret", ["camera", "viewer"], only=["kitchen", "door"], by="root")
        return users

    return made
