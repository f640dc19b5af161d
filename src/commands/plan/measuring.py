"""Measures on this machine what a plan is made of, with real processes: a server and its cameras, and a model.

The server listens on this machine alone, on a free port, with data of its own, which go with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imageserver import bootstrap
from imageserver.commands.plan.arithmetic import MOST_WORKERS
from imageserver.commands.plan.cameras import Filming, Seen
from imageserver.commands.plan.figures import FrontEndCost, ModelCost
from imageserver.config import kinds
from imageserver.errors import SettingError

MODEL = "lenet"
"""Runs beside a front end that is measured: it takes next to nothing."""
FULL, HELD, STREAMING = 32, 500, 64
"""Cameras at full speed; that are held; at a part of full speed."""
PLANNED = 0.6
"""Of what it did at full speed, at which a front end is measured: about what is planned for."""
WARM = 1.0
START_WITHIN, END_WITHIN = 180.0, 10.0
_CLOCK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def front_end(size: int, seconds: float, when: str) -> FrontEndCost:
    """Of frames of `size` bytes, in about three times `seconds`. SettingError: it cannot be measured here."""
    with server(MODEL) as (pid, port):
        began = _resident(pid)
        with measured(Filming(port, HELD, -1, 1000, WARM, 0.1)):
            each = max(0.0, _resident(pid) - began) / HELD
        with measured(Filming(port, FULL, 0, size, WARM, seconds)) as (seen, _processor):
            full = seen.answered / seen.took
        task = Filming(port, STREAMING, PLANNED * full / STREAMING, size, WARM, 2 * seconds)
        with measured(task, pid) as (seen, processor):
            if not seen.answered:
                raise SettingError("the server answered no frame while it was measured: try again with more --seconds")
            return FrontEndCost(
                processor_ms=round(processor * 1000 / seen.answered, 4),
                memory_mb=round(began / 1e6, 1),
                camera_kb=round(each / 1000, 1),
                answer_bytes=round(seen.answer_bytes / seen.answered),
                answered=round(seen.answered / seen.took, 1),
                measured=when,
            )


def model(folder: Path, picture: Path | None, seconds: float, when: str) -> ModelCost:
    """Of the model in a folder, at the size of batches that answers most. SettingError: it cannot be measured."""
    threads = max(1, (os.cpu_count() or 1) // min(MOST_WORKERS, os.cpu_count() or 1))
    command = bootstrap.command(
        "inference.bench_model", str(folder), "--json", "--seconds", str(seconds), "--threads", str(threads)
    )
    if picture is not None:
        command += ["--picture", str(picture)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SettingError(_last(done.stderr).removeprefix("inference.bench_model: ") or "the model cannot be measured")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    best = max(rows, key=lambda row: float(row["pictures"]))
    return ModelCost(best["processor"], best["memory"], best["pictures"], best["batch"], when)


@contextlib.contextmanager
def server(model_name: str, **settings: Any) -> Iterator[tuple[int, int]]:
    """A server of its own, its model ready: its process number and its port. SettingError: it does not start."""
    with tempfile.TemporaryDirectory(prefix="imageserver-plan-", ignore_cleanup_errors=True) as data:
        given = {
            "ip": "127.0.0.1", "port": 0, "tcp_port": kinds.OFF, "model": model_name, "data": data, **settings,
        }  # fmt: skip
        process = subprocess.Popen(
            bootstrap.command("commands.server", json.dumps(given), "imageserver plan"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        with process, _ended(process):
            said = _Said(process)
            yield process.pid, said.port()


class _Said:
    """What a server prints, read to its end, or it would wait for a reader."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._port, self._last = process, 0, ""
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._last = line
            if found := re.search(r"wsgi starting up on http://127\.0\.0\.1:(\d+)", line):
                self._port = int(found[1])
            if "models ready:" in line:
                self._ready.set()
        self._ready.set()

    def port(self) -> int:
        """Waits until the models are ready. SettingError."""
        if not self._ready.wait(START_WITHIN):
            raise SettingError(
                f"the server that is to be measured was not ready after {START_WITHIN:g} s: this machine is busy; "
                "measure when it has nothing else to do"
            )
        if self._process.poll() is not None or not self._port:
            raise SettingError(f"the server that is to be measured does not start: {_last(self._last)}")
        return self._port


@contextlib.contextmanager
def measured(task: Filming, watched: int = 0) -> Iterator[tuple[Seen, float]]:
    """Cameras that have done a task and are still connected: what they saw, and seconds of processor time that the
    process `watched` took meanwhile. SettingError: they ended before."""
    process = subprocess.Popen(
        bootstrap.command("commands.plan.cameras", json.dumps(asdict(task))),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process, _ended(process):
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdin is not None
        begins = process.stdout.readline()
        before = processor_time(watched)
        ends = process.stdout.readline()
        after = processor_time(watched)
        if not (begins and ends):
            raise SettingError(f"the cameras that measure ended unasked: {_last(process.stderr.read())}")
        yield Seen(**json.loads(ends)), after - before
        process.stdin.close()


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End it, whatever happens."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()


def processor_time(pid: int) -> float:
    """Seconds that all threads of a process have taken; 0.0 for none (proc_pid_stat(5): utime, stime)."""
    if not pid:
        return 0.0
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _CLOCK


def _resident(pid: int) -> int:
    """Bytes that a process holds in memory (proc_pid_statm(5))."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][-500:] if lines else ""
