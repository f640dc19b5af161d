"""Users whose passwords are cheap to hash, and a clock that stands until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.passwords import CHEAP

from imageserver.accounts.database import UserDB
from imageserver.limits import Limits


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "users.db" if request.param == "file" else None


@pytest.fixture
def make(place: Path | None, clock: Clock) -> Callable[..., UserDB]:
    """Users in a file or in memory, alice among them, with limits of the test's."""

    def made(**limits: Any) -> UserDB:
        users = UserDB(place, CHEAP, Limits(**limits), clock)
        users.add("alice", "secret", ["camera", "viewer"], only=["kitchen", "door"], by="root")
        return users

    return made
