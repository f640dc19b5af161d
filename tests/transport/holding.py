"""Tests that make a server hold its loop, run by tests/test_loop_probe.py: the probe must fail the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("milliseconds", [400, 10])
def test_large(serve: Callable[..., Any], milliseconds: int) -> None:
    served = serve()
    assert served.request("POST", "/echo", bytes(100_000)).json()["length"] == 100_000
    served.request("GET", "/hold", how="sleep", milliseconds=milliseconds)


def test_small(serve: Callable[..., Any]) -> None:
    """Sends too little for the probe to be there."""
    serve().request("GET", "/hold", how="sleep", milliseconds=400)
