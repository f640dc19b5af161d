"""The conformance server in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.peer import Peer

SERVER = Path(__file__).with_name("server.py")


@pytest.fixture(scope="session")
def conformance_port() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(SERVER), "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["port"]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def peer(conformance_port: int) -> Iterator[Peer]:
    one = Peer(conformance_port)
    yield one
    one.close()
