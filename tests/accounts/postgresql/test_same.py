"""What holds of users, tokens and pages in a file holds in PostgreSQL: the very same tests."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest
from tests.accounts import test_database
from tests.accounts.store import test_file, test_pages, test_tokens
from tests.passwords import CHEAP

from imageserver.accounts.database import UserDB

pytestmark = pytest.mark.slow  # a PostgreSQL runs for it, which the tests, being those of other files, do not say

OF_A_FILE = {
    "test_a_database_for_reading_alone_serves",
    "test_twenty_thousand_tokens_cost_a_look_up_no_more",  # counts SQLite's steps
    "test_what_was_right_is_not_hashed_again_but_looked_up",
}


@pytest.fixture
def users(request: pytest.FixtureRequest) -> UserDB:
    """With alice where the test's own file has her."""
    if request.function.__module__.endswith("test_database"):
        return UserDB(request.getfixturevalue("place"), CHEAP)
    made: UserDB = request.getfixturevalue("make")()
    return made


def of_any_place(tests: Any) -> dict[str, Any]:
    """The tests in a module or class that ask for users wherever these are."""
    return {
        name: test
        for name, test in vars(tests).items()
        if name.startswith("test_") and name not in OF_A_FILE
        if {"users", "make", "place"}.intersection(inspect.signature(test).parameters)
    }


def classes_of(module: ModuleType) -> dict[str, Any]:
    return {
        name: type(name, (), found | {key: value for key, value in vars(tests).items() if key.isupper()})
        for name, tests in vars(module).items()
        if name.startswith("Test") and inspect.isclass(tests) and (found := of_any_place(tests))
    }


for module in (test_database, test_tokens, test_pages, test_file):
    globals().update(of_any_place(module) | classes_of(module))
