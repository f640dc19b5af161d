"""A child process that says what it likes, with a real process behind it; and the memory shared with one."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.running import PATIENCE, alive

from imageserver.inference.server import arena as arenas
from imageserver.inference.server import child_process
from imageserver.inference.server.arena import COPY_CHUNK, Arena
from imageserver.inference.server.child_process import ChildProcess, Starts
from imageserver.inference.shared import wire
from imageserver.jail import scratch
from imageserver.jail.rules import Jail
from imageserver.transport import hub

PROGRAM = """#!{python}
import os, signal, socket, struct, sys, time
control = socket.socket(fileno=int(sys.argv[sys.argv.index("--control") + 1]))
def tell(body):
    control.sendall(struct.pack("<I", len(body)) + body)
{code}
"""


class Child:
    """A child that runs `code`, what it said, and how it ended."""

    def __init__(self, folder: Path, code: str, on_message: Callable[[wire.Message], None] | None = None) -> None:
        program = folder / "program"
        program.write_text(PROGRAM.format(python=sys.executable, code=code))
        program.chmod(0o755)
        self.messages: list[wire.Message] = []
        self.ended = hub.Event()
        self.process = ChildProcess(
            "child", "none", [], on_message or self.messages.append, self.ended.set, jail=Jail(), python=str(program)
        )

    def end(self) -> str:
        assert self.ended.wait(PATIENCE)
        assert not alive(self.process.pid)
        return self.process.exit_text


def test_messages_come_in_order_and_then_the_end(tmp_path: Path) -> None:
    child = Child(tmp_path, """tell(b'{"op": "one"}')\ntell(b'{"op": "two"}')\nsys.exit(3)""")
    assert child.process.exit_text == "still running"
    assert child.end() == "exit code 3"
    assert child.messages == [{"op": "one"}, {"op": "two"}]
    child.process.send({"op": "too late"})
    child.process.kill()


def test_one_that_cannot_be_started_leaves_nothing(tmp_path: Path) -> None:
    missing, open_files = str(tmp_path / "no such program"), set()
    for _ in range(3):  # the first makes the folder of scratch folders, which stays
        with contextlib.suppress(FileNotFoundError):
            ChildProcess("child", "none", [], print, print, jail=Jail(), arena=Arena(1, 1000), python=missing)
        open_files.add(len(os.listdir("/proc/self/fd")))
    assert len(open_files) == 1


def test_one_that_cannot_be_started_has_no_other_program_run_while_the_loop_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = scratch.SCRATCH.new()
    monkeypatch.setattr(scratch.SCRATCH, "new", lambda: folder)
    monkeypatch.setattr(scratch.subprocess, "run", lambda *_arguments, **_options: pytest.fail("a program ran"))
    with pytest.raises(FileNotFoundError):
        ChildProcess("child", "none", [], print, print, jail=Jail(), python=str(tmp_path / "no such program"))
    assert not folder.exists()


def test_what_cannot_be_started_is_tried_again_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "START_AGAIN_AFTER", 0.01)
    said: list[str] = []
    starts, tries, done = Starts(said.append), 0, hub.Event()

    def start() -> str:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise OSError(24, "Too many open files")
        return "started"

    def begin() -> None:
        if starts.attempt("worker 1", start, begin):
            done.set()

    begin()
    assert done.wait(PATIENCE)
    sentence = "worker 1 cannot be started (Too many open files); it is tried again every second"
    assert said == [sentence, "worker 1 can be started again"]


def test_who_asks_for_what_is_tried_again_anyway_adds_no_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "START_AGAIN_AFTER", 0.01)
    starts, tries, over = Starts(lambda _line: None), 0, hub.Event()

    def start() -> str:
        nonlocal tries
        tries += 1
        raise OSError(24, "Too many open files")

    def begin() -> None:
        if tries < 5:
            assert starts.attempt("session worker a", start, begin) is None
        else:
            over.set()

    for _session in range(100):
        begin()
    assert tries == 1
    assert over.wait(PATIENCE)
    assert tries == 5


@pytest.mark.parametrize(
    "body", [b"no JSON at all", b"\xff\xff", b"[1]", b'{"text": "without op"}'], ids=["text", "bytes", "list", "no op"]
)
def test_one_that_sends_no_message_is_killed_and_its_end_told(
    tmp_path: Path, body: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    child = Child(tmp_path, f"tell({body!r})\ntime.sleep(600)", lambda message: heard.append(message["op"]))
    assert child.end().startswith("signal SIGKILL after a message that cannot be understood (")
    assert heard == []
    assert "child is ended: " in caplog.text and capfd.readouterr().err == "", "the log's thread says where"


def test_one_that_says_it_is_huge_is_killed(tmp_path: Path) -> None:
    child = Child(tmp_path, "control.sendall(b'\\xff' * 4)\ntime.sleep(600)")
    assert "a message of 4294967295 bytes exceeds" in child.end()


def test_one_that_closes_its_socket_is_of_no_use(tmp_path: Path) -> None:
    child = Child(tmp_path, "control.shutdown(socket.SHUT_RDWR)\ntime.sleep(600)")
    assert child.end() == "signal SIGKILL"


def test_one_is_asked_to_stop_before_it_is_killed(tmp_path: Path) -> None:
    obedient = Child(tmp_path, "control.recv(100)\nsys.exit(0)")
    obedient.process.end()
    assert obedient.end() == "exit code 0"
    deaf = Child(tmp_path, "time.sleep(600)")
    deaf.process.end()
    assert deaf.end() == "signal SIGKILL"


def test_one_that_cannot_start_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    arena, ends, python = Arena(1, 10), [], str(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        ChildProcess("none", "none", [], ends.append, hub.sleep, jail=Jail(), arena=arena, python=python)
    with pytest.raises(OSError, match="descriptor"):
        socket.socket(fileno=arena.descriptor)


def test_what_is_written_into_a_slot_is_read_from_it() -> None:
    arena = Arena(3, 3 * COPY_CHUNK)
    for slot in arena.free_slots:
        arena.write(slot, 5, bytes([slot]) * (2 * COPY_CHUNK))
    for slot in arena.free_slots:
        assert arena.read(slot, 5, 2 * COPY_CHUNK) == bytes([slot]) * (2 * COPY_CHUNK)
        assert arena.read(slot, 4, 2) == bytes([0, slot])


def test_nothing_reaches_beyond_its_slot() -> None:
    arena = Arena(2, 10)
    with pytest.raises(ValueError, match="6 bytes at 5 exceed a slot of 10"):
        arena.write(0, 5, b"123456")
    with pytest.raises(ValueError, match="6 bytes at 5 exceed a slot of 10"):
        arena.read(0, 5, 6)


def test_what_a_large_picture_took_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its slot is free for a while; what stays is what usual pictures take."""
    monkeypatch.setattr(arenas, "IDLE", 0.05)
    arena = Arena(2, 4 * arenas.KEPT)
    slot, other = arena.take(), arena.take()
    for number in (slot, other):
        arena.write(number, 0, bytes([number + 1]) * 4 * arenas.KEPT)
    assert allocated(arena) == 8 * arenas.KEPT
    arena.release(slot)
    wait_for(lambda: allocated(arena) == 5 * arenas.KEPT)
    assert arena.read(slot, arenas.KEPT - 1, 2) == bytes([slot + 1, 0])
    assert arena.read(other, 0, 4 * arenas.KEPT) == bytes([other + 1]) * 4 * arenas.KEPT
    arena.release(other)
    wait_for(lambda: allocated(arena) == 2 * arenas.KEPT)
    os.close(arena.descriptor)


def wait_for(condition: Callable[[], bool]) -> None:
    with hub.Timeout(PATIENCE):
        while not condition():
            hub.sleep(0.01)


def allocated(arena: Arena) -> int:
    """Bytes of memory that an arena takes."""
    return os.stat(arena.descriptor).st_blocks * 512
