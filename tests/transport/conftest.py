"""Servers with limits of the test's choice, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.peer import Peer

SERVER = Path(__file__).with_name("server.py")


class Served(Peer):
    """A server, its port and its state."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SERVER), json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.communicate()[1])
        port, *tls_port = map(int, line.split())
        super().__init__(port)
        self.tls_port = tls_port[0] if tls_port else 0

    def state(self) -> dict[str, Any]:
        values: dict[str, Any] = self.request("GET", "/state").json()
        return values

    def wait(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 15) -> dict[str, Any]:
        """The state, as soon as it fulfils the condition. Fails after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            state = self.state()
            if condition(state):
                return state
            assert time.monotonic() < end, state
            time.sleep(0.02)

    def hit(self, limit: str) -> None:
        """Wait until a limit has been counted."""
        self.wait(lambda state: state["limits"].get(limit, 0) > 0)

    def end(self) -> str:
        """Stop it; what it wrote to standard error."""
        self.close()
        self.process.terminate()
        return self.process.communicate(timeout=10)[1]


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """`serve(http={…}, socketio={…}, websocket={…})`: a server with these limits; the same again for the same ones."""
    running: dict[str, Served] = {}

    def start(**options: Any) -> Served:
        key = json.dumps(options, sort_keys=True)
        if key not in running:
            running[key] = Served(options)
        return running[key]

    yield start
    said = [served.end() for served in running.values()]
    assert not any(said), said  # nothing writes a traceback
