"""Other disks than that of the data: temporary files, and standard output, which nobody may read."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults import disks
from tests.faults.load import Cameras
from tests.running import ROOT, TEST_MODELS, Server, alive, processes, until

row = pytest.mark.fault(
    "disk full, disk read-only, --data gone",
    "a clear error, serving goes on, nothing corrupted, recovers by itself",
)
Tell = Callable[[str], None]

PRINTS = """
class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        print("something that nobody reads", flush=True)
        return [{"label": "seen", "score": 1.0, "labels": []} for _picture in batch]
"""


WORKER = "inference.worker.main"


def lose_a_worker(server: Server) -> float:
    """End a worker; seconds until there is another one."""
    (worker,) = until(lambda: processes(server, WORKER), "a worker")
    os.kill(worker, signal.SIGKILL)
    begun = time.monotonic()
    until(lambda: not alive(worker) and processes(server, WORKER), "another worker", 30)
    return time.monotonic() - begun


@row
@pytest.mark.long
def test_a_worker_is_replaced_while_the_disk_of_temporary_files_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    (tmp_path / "data").mkdir()
    with disks.tmpfs(tmp_path / "temporary", "size=1M,nr_inodes=20") as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        with Server(data=tmp_path / "data") as server, Cameras(server.ready().port) as cameras:
            cameras.settle()
            assert list(disk.glob("imageserver-scratch-*/*")), "scratch folders are on that disk"
            disks.use_up(disk)
            for _ in range(2):
                lose_a_worker(server)
            until(lambda: cameras.look().silence < 3.0 and cameras.figures().answered, "answers", 30)
            cameras.figures()
            time.sleep(1.0)
            figures = cameras.figures()
            assert figures.lost == 0 and figures.answered and not figures.errors, figures
            tell(f"no room for temporary files and two workers killed: {figures}")


@pytest.fixture
def printing(tmp_path: Path) -> Path:
    """A folder with one model, which prints."""
    folder = tmp_path / "models" / "prints"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text((TEST_MODELS / "echo" / "model.toml").read_text())
    (folder / "model.py").write_text(PRINTS)
    (tmp_path / "data").mkdir()
    return folder.parent


class Logging:
    """A server whose standard output and errors go to one descriptor."""

    def __init__(self, models: Path, output: int) -> None:
        command = [sys.executable, ROOT / "src" / "ImageServer.py", "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off"]
        command += ["--data", models.with_name("data"), "--models", models, "-m", "prints", "--workers", "1"]
        command += ["--results", "-"]
        self.process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output)

    def __enter__(self) -> Logging:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(15) == 0
        finally:
            self.process.kill()
            self.process.wait()


def port(text: Callable[[], str]) -> int:
    """Where the server listens, once its log says so, and its model is ready."""
    until(lambda: "models ready: prints" in text(), "the model")
    found = re.search(r"starting up on http://\S*:(\d+)", text())
    assert found
    return int(found[1])


def stream(number: int, lose: Callable[[], object]) -> str:
    """Stream while a worker is lost; what cameras saw."""
    with Cameras(number, count=2) as cameras:
        cameras.settle()
        lose()
        until(lambda: cameras.figures().answered, "answers", 30)
        cameras.figures()
        time.sleep(1.0)
        figures = cameras.figures()
        assert figures.lost == 0 and figures.answered and not figures.errors, figures.errors
        return str(figures)


@row
@pytest.mark.long
def test_the_reader_of_the_log_has_gone(printing: Path, tell: Tell) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with Logging(printing, writing) as server:
        os.close(writing)
        said = b""

        def text() -> str:
            nonlocal said
            with contextlib.suppress(BlockingIOError):
                said += os.read(reading, 65536)
            return said.decode()

        number = port(text)
        os.close(reading)
        tell(f"nobody reads the log: {stream(number, lambda: lose_a_worker(server))}")


@row
@pytest.mark.long
def test_the_disk_of_the_log_is_full(tmp_path: Path, printing: Path, tell: Tell) -> None:
    with disks.tmpfs(tmp_path / "disk", "size=1M") as disk:
        path = disk / "log"
        with (
            path.open("ab") as output,
            Logging(printing, output.fileno()) as server,
            Cameras(port(path.read_text), count=2) as cameras,
        ):
            cameras.settle()
            ballast = disks.fill(disk)
            until(lambda: path.stat().st_size % os.sysconf("SC_PAGESIZE") == 0, "the last page to be full")
            lose_a_worker(server)
            until(lambda: cameras.figures().answered, "answers", 30)
            cameras.figures()
            time.sleep(1.0)
            figures = cameras.figures()
            assert figures.lost == 0 and figures.answered and not figures.errors, figures.errors
            ballast.unlink()
            until(lambda: "can be written again" in path.read_text(), "the results to go on", 20)
        text = path.read_text()
        assert "lines of the log could not be written before this one" in text
        assert "Traceback" not in text and text.rstrip().endswith("stopped"), text[-500:]
        tell(f"the disk of the log is full: {figures}")
