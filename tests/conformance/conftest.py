"""The conformance server in processes of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.peer import Peer

SERVER = Path(__file__).with_name("server.py")


PATIENT = ("25", "20")
"""Seconds between two heartbeats, and for an answer: a slow machine is no silent client."""
HURRIED = ("0.3", "0.4")


@contextlib.contextmanager
def served(*heartbeat: str) -> Iterator[int]:
    """The port of a server."""
    command = [sys.executable, "-W", "ignore", str(SERVER), "0", *heartbeat]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["port"]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="session")
def conformance_port() -> Iterator[int]:
    with served(*PATIENT) as port:
        yield port


@pytest.fixture(scope="session")
def hurried_port() -> Iterator[int]:
    with served(*HURRIED) as port:
        yield port


@pytest.fixture
def peer(conformance_port: int) -> Iterator[Peer]:
    one = Peer(conformance_port)
    yield one
    one.close()


@pytest.fixture
def hurried(hurried_port: int) -> Iterator[Peer]:
    """A server whose heartbeats are short."""
    one = Peer(hurried_port)
    yield one
    one.close()
