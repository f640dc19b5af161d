"""The board of faults: each row is a promise, and the tests marked with it tell by which figures it is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.faults.board import Board


def pytest_configure(config: pytest.Config) -> None:
    """Print the board at the end of a run of faults alone; a suite has its own lines."""
    if "fault" in config.option.markexpr.split():
        config.pluginmanager.register(Board(), "board-of-faults")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a figure to the row of the test: `tell("0 of 8 connections lost")`."""
    mark = request.node.get_closest_marker("fault")
    assert mark is not None, "only a test marked with a fault has something to tell"
    return lambda figure: request.node.user_properties.append(("figure", figure))
