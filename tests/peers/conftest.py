"""A Redis that runs, one for a file of tests, since some kill it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import redis_server
from tests.redis_server import PASSWORD, RedisServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server.running() as found:
        yield found


@pytest.fixture(scope="module")
def password(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with its password."""
    path = tmp_path_factory.mktemp("secret") / "redis-password"
    path.write_text(f"{PASSWORD}\n")
    return path
