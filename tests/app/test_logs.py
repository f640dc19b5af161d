"""The lines of the log, for people and for machines."""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.running import Camera, Server, picture

from imageserver import metrics
from imageserver.app import logs


def record(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("imageserver", level, "", 0, message, (), None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("alice: 3 frames/s", "alice: 3 frames/s"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[2J gone\x9b", r"\x1b[2J gone\x9b"),
        ("é 😀 \u2028", "é 😀 \\u2028"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_what_clients_send_neither_begins_a_line_nor_steers_a_terminal(text: str, line: str) -> None:
    assert logs.Sentences().format(record(text)) == line
    assert logs.Sentences().format(record(text, logging.WARNING)) == f"warning: {line}"
    machine = logs.JsonLines().format(record(text, logging.WARNING))
    assert machine.isascii() and machine.isprintable()
    assert json.loads(machine)["message"] == text


def test_json_has_four_keys() -> None:
    made = record("hello")
    made.created, made.process = 1700000000.1234, 42
    found = json.loads(logs.JsonLines().format(made))
    assert found == {"time": "2023-11-14T22:13:20.123+00:00", "level": "info", "message": "hello", "pid": 42}
    assert datetime.datetime.fromisoformat(found["time"]).tzinfo is datetime.UTC


def test_a_server_that_logs_json_logs_nothing_else(tmp_path: Path) -> None:
    with Server("--log-json", "-a", "--user", "alice:x", data=tmp_path) as server, Camera(server.ready()) as camera:
        assert server.port
        assert camera.login("alice", "x")
        camera.ask(picture())
        server.wait_for("frames/s in")
        assert not camera.login("\x1b\ud83d", "wrong")
        server.wait_for("refused")
    found = [json.loads(line) for line in server.lines]
    assert {tuple(line) for line in found} == {("time", "level", "message", "pid")}
    assert {line["pid"] for line in found} == {server.process.pid}
    assert re.fullmatch(rf"\({server.process.pid}\) wsgi starting up on {server.url}", found[0]["message"])
    assert {"info", "warning"} == {line["level"] for line in found}
    assert found[-1]["message"] == "stopped"


def test_a_user_of_any_name_costs_no_traceback(tmp_path: Path) -> None:
    with Server(data=tmp_path) as server, Camera(server.ready()) as camera:
        camera.login("\x1b[2J\ud83d\n(1) wsgi", "x")
        camera.ask(picture())
        server.wait_for(r"^\\x1b\[2J\\ud83d\\n\(1\) wsgi: .* frames/s in")
    assert "Traceback" not in server.text


def test_a_crash_in_a_green_thread_goes_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from imageserver.transport import hub

    heard: list[str] = []
    monkeypatch.setattr(hub, "_crashed", hub._crashed)
    hub.on_crash(heard.append)

    def broken() -> None:
        raise KeyError("x")

    hub.spawn(broken).wait()
    assert heard[0].startswith("unexpected error in") and "KeyError: 'x'" in heard[0]


def test_lines_that_a_full_disk_does_not_take_are_counted_and_told_when_it_takes_them(tmp_path: Path) -> None:
    before = metrics.LOG_LINES_DROPPED.total()
    with open(tmp_path / "log", "w") as stream, open("/dev/full", "w") as full:
        disk = os.dup(stream.fileno())
        output = logs._Output(stream)
        output.setFormatter(logs.Sentences())
        for number in range(3):
            os.dup2(full.fileno() if number < 2 else disk, stream.fileno())
            output.emit(record(f"line {number}"))
        os.close(disk)
    assert metrics.LOG_LINES_DROPPED.total() == before + 2
    assert (tmp_path / "log").read_text().splitlines() == [
        "warning: 2 lines of the log could not be written before this one",
        "line 2",
    ]


LOGS = """
import bootstrap; bootstrap.provide_package()
from imageserver.app import logs
lines = logs.start("info", to_stderr=False)
for number in range(logs.MOST_WAITING + 100):
    logs.LOGGER.info("line %d", number)
lines.stop()
"""


def run_logs(outputs: str = "", **how: Any) -> subprocess.CompletedProcess[bytes]:
    """A process that logs more than may wait, and stops; `outputs` is what the shell does with them."""
    command = ["bash", "-c", f'exec "$@" {outputs}', "bash", sys.executable, "-c", LOGS]
    environment = os.environ | {"PYTHONPATH": str(Path(logs.__file__).parents[1])}
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, timeout=20, **how)


def test_a_log_that_nobody_takes_does_not_keep_the_server_from_ending() -> None:
    ours, theirs = os.pipe()
    try:
        ended = run_logs(stdout=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_without_standard_output_the_lines_go_to_standard_error() -> None:
    ended = run_logs(">&-")
    assert ended.returncode == 0 and b"Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[0] == b"line 0"


def test_without_any_output_nothing_is_written_and_the_server_ends() -> None:
    assert run_logs(">&- 2>&-").returncode == 0


def test_a_line_that_cannot_be_written_for_another_reason_costs_no_further_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with open(tmp_path / "log", "w") as stream:
        output = logs._Output(stream)
        output.setFormatter(logs.Sentences())
        for one in (record("%d of %d"), record("the next")):
            one.args = (1,) if "%" in one.msg else ()
            output.handle(one)
    assert (tmp_path / "log").read_text() == "the next\n"
