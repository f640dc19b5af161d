"""Real clients of both generations, over each transport.

Every kind of value, acknowledgements, namespaces, reconnection.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"

TRANSPORTS = {
    "polling": ("polling", "polling"),
    "websocket": ("websocket", "websocket"),
    "upgrade": ("polling,websocket", "websocket"),
}


def run(command: list[str], way: str) -> None:
    transports, expected = TRANSPORTS[way]
    done = subprocess.run([*command, transports], capture_output=True, text=True, timeout=60, cwd=HERE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["transport"] == expected


@pytest.mark.sends_large
@pytest.mark.parametrize("way", TRANSPORTS)
@pytest.mark.parametrize("package", ["socket.io-client-2", "socket.io-client"])
def test_javascript(clients_port: int, package: str, way: str) -> None:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / package).exists():
        pytest.skip("needs Node and tests/clients/environment.sh")
    run([node, "client.js", str(clients_port), package], way)


@pytest.mark.sends_large
@pytest.mark.parametrize("way", TRANSPORTS)
@pytest.mark.parametrize("environment", ["clients-python4", "clients-python5"])
def test_python(clients_port: int, environment: str, way: str) -> None:
    python = BUILD / environment / "bin" / "python"
    if not python.exists():
        pytest.skip("needs tests/clients/environment.sh")
    run([str(python), "client.py", str(clients_port)], way)
