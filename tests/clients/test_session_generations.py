"""Sessions by Python's own clients of both Socket.IO generations, over both transports."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.running import ROOT, Server

PROGRAM = Path(__file__).with_name("session_program.py")
GENERATIONS = {3: "clients-python4", 4: "clients-python5"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ("--session-models", "sleeper,echoer", "--session-key", "sesame", "--merge-deadline", "30s")
    with Server(*arguments, data=tmp_path_factory.mktemp("keyed")) as server:
        yield server.ready()


def run(server: Server, generation: int, transports: str, key: str) -> subprocess.CompletedProcess[str]:
    python = ROOT / "build" / GENERATIONS[generation] / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is missing: tests/environments.sh makes it")
    return subprocess.run(
        [str(python), str(PROGRAM), str(server.port), transports, key],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.parametrize("transports", ["websocket", "polling", "polling,websocket"])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_session_from_start_to_end(keyed: Server, generation: int, transports: str) -> None:
    ended = run(keyed, generation, transports, "sesame")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found["start"] == {"success": True}
    assert len(found["refusals"]) == 6
    for refusal, words in zip(
        found["refusals"],
        ["no session runs", "no session runs", "nothing_like_it", "runs already", "picture", "7 bytes"],
        strict=True,
    ):
        assert refusal["success"] is False
        assert words in refusal["error"]
    *frames, last = found["predictions"]
    assert [one["recv_ts"] for one in frames] == [one["timestamp"] for one in frames] == list(range(2000, 2012))
    assert [one["sleeper_number"] for one in frames] == list(range(0, 120, 10))
    assert (last["sleeper_frames"], last["timestamp"]) == (12, 9000)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_key(keyed: Server, generation: int) -> None:
    wrong = run(keyed, generation, "websocket", "open")
    assert wrong.returncode == 0, wrong.stderr
    assert "the key is wrong" in str(json.loads(wrong.stdout)["refused"])
    without = run(keyed, generation, "websocket", "")
    assert without.returncode == 0, without.stderr
    assert "authenticate" in json.loads(without.stdout)["start"]["error"]
