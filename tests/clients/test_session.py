"""clients/session.py against a real server with a model that counts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.protocols.session_client import models_folder, write_model
from tests.running import ROOT, Server, picture, until

from client_programs.report import describe_session

PROGRAM = str(ROOT / "clients" / "session.py")
COUNTER = """
class Model:
    def __init__(self, folder, manifest):
        self.count = {}

    def start(self, sid, timestamp):
        self.count[sid] = 0

    def forward_single_frame(self, sid, frame, timestamp):
        if frame.max() == 0:
            raise ValueError("nothing but black")
        self.count[sid] += 1
        return {"count": self.count[sid]}

    def end(self, sid, timestamp):
        return {"frames": self.count.pop(sid)}
"""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("counted")
    models = models_folder(folder)
    write_model(models, "counter", COUNTER, "every_frame = true\n")
    arguments = (
        "--session-models",
        "counter",
        "--session-key",
        "sesame",
        "--user",
        "alice:secret",
        "--merge-deadline",
        "30s",
    )
    with Server(*arguments, models=models, data=folder) as server:
        yield server.ready()


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROGRAM, "--server", f"127.0.0.1:{server.port}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def lines(ended: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_five_photographs_and_every_answer(keyed: Server) -> None:
    ended = run(keyed, "--key", "sesame", "--json", "--hz", "50")
    assert ended.returncode == 0, ended.stderr
    *predictions, last, summary = lines(ended)
    assert [one["count"] for one in predictions] == [1, 2, 3, 4, 5]
    assert [one["seq"] for one in predictions] == [1, 2, 3, 4, 5]
    assert predictions[0]["file"] == predictions[4]["file"] == "astronaut.jpg", "there are four photographs"
    assert last["frames"] == 5
    assert (summary["summary"]["sent"], summary["summary"]["answered"]) == (5, 5)


def test_pictures_for_people_at_random_intervals_by_user(keyed: Server, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture(9, suffix=".png"))
    (tmp_path / "2.png").write_bytes(picture(0, suffix=".png"))
    (tmp_path / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    ended = run(keyed, str(tmp_path), "--user", "alice", "--password", "secret")
    assert ended.returncode == 1, "one was refused"
    found = ended.stdout.splitlines()
    assert found[0].startswith("1 1.png: count 1 (")
    assert any(
        line.startswith("2 2.png: nothing; counter: the model failed in forward_single_frame (ValueError)")
        for line in found
    )
    assert any(line.startswith("3 3.png: refused: ") for line in found)
    assert found[-2] == "at the end: frames 1"
    assert found[-1].startswith("3 sent, 2 answered, 1 refused; counter failed 1 times; age ")


def test_a_value_that_is_null_is_told_as_its_reason() -> None:
    prediction = {"seq": 1, "frame": {}, "HR": None, "HR_reason": "no face is seen", "HR_quality": 0.0, "EAR": None}
    assert describe_session(prediction) == "HR: no face is seen, HR_quality 0.0, EAR -"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--key", "open"], 2, "The server does not let you in: the key is wrong."),
        ([], 2, "The server starts no session: it wants a user's name and password: give --user NAME, or the"),
        (["nowhere.mp4", "--key", "sesame"], 2, "There is no file or folder nowhere.mp4."),
        (["--server", "127.0.0.1:1"], 3, "No ImageServer answers at http://127.0.0.1:1"),
    ],
)
def test_what_goes_wrong_is_a_sentence(keyed: Server, arguments: list[str], code: int, sentence: str) -> None:
    ended = run(keyed, *arguments)
    assert ended.returncode == code
    assert ended.stderr.startswith(sentence)
    assert len(ended.stderr.splitlines()) == 1


def test_ctrl_c_ends_the_session_first(keyed: Server) -> None:
    command = [
        sys.executable,
        PROGRAM,
        "--server",
        f"127.0.0.1:{keyed.port}",
        "--key",
        "sesame",
        "--seconds",
        "99",
        "--hz",
        "20",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        assert first["count"] == 1
        process.send_signal(signal.SIGINT)
        rest = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 130
        assert "Traceback" not in process.stderr.read()
    assert rest[-2]["frames"] >= 1
    until(
        lambda: "imageserver_sessions 0" in keyed.get("/metrics")[1].decode() or keyed.get("/metrics")[0] != 200,
        "no session left",
    )
