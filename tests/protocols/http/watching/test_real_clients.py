"""Programs that look at streams as people use them: a player's library, curl, and a hundred viewers at once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.running import Camera, Server, picture, processes, until


class Sending:
    """A camera that sends on; the brightness of its frames goes up and down."""

    def __init__(self, server: Server, name: str) -> None:
        self.camera, self._name = Camera(server), name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Sending:
        assert self.camera.login(self._name, "x")
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.camera.__exit__()

    def _run(self) -> None:
        frames = [picture(grey, 320, 240) for grey in range(40, 200, 10)]
        number = 0
        while not self._stop.wait(0.02):
            self.camera.ask(frames[number % len(frames)])
            number += 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("--stream-followers", "500", data=tmp_path_factory.mktemp("data")) as found:
        yield found.ready()


def test_opencv_plays_it(server: Server) -> None:
    with Sending(server, "a b/c"):
        until(lambda: server.get("/streams/a%20b/c.jpg")[0] == 200, "a first frame")
        for query in ("", "?fps=25&boxes=1"):
            video = cv2.VideoCapture(f"{server.url}/streams/a%20b/c.mjpeg{query}", cv2.CAP_FFMPEG)
            if not video.isOpened():
                pytest.skip("this OpenCV plays nothing from the network")
            frames = [video.read()[1] for _frame in range(8)]
            video.release()
            assert {frame.shape for frame in frames} == {(240, 320, 3)}
            assert len({round(float(frame.mean())) for frame in frames}) > 4, "it moves"
    until(lambda: server.get("/streams/a%20b/c.jpg")[0] == 404, "the end of the stream")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_fetches_pictures_and_events(server: Server) -> None:
    def curl(*words: str) -> bytes:
        return subprocess.run(["curl", "-sS", "-N", *words], capture_output=True, timeout=30).stdout

    with Sending(server, "anna"):
        until(lambda: server.get("/streams/anna.jpg")[0] == 200, "a first frame")
        for path in ("anna.jpg", "anna.jpg?boxes=1"):
            pixels = cv2.imdecode(np.frombuffer(curl(f"{server.url}/streams/{path}"), np.uint8), cv2.IMREAD_COLOR)
            assert pixels.shape == (240, 320, 3)
        events = curl("--max-time", "1.5", f"{server.url}/streams/events?stream=anna").decode()
        assert events.startswith("retry: 10000\n\nevent: opened\ndata: {")
        assert 2 <= events.count("event: prediction") <= 17, "ten times a second"
        head = curl("-I", f"{server.url}/streams/anna.mjpeg").decode()
        assert "multipart/x-mixed-replace" in head
    assert len(processes(server, "inference.worker.drawer")) == 1


@pytest.mark.long
def test_a_hundred_viewers_cost_memory_little_and_cameras_nothing(server: Server) -> None:
    def memory() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024

    def ages(camera: Camera, seconds: float) -> float:
        first = len(camera.predictions)
        time.sleep(seconds)
        return float(np.percentile([found["age_ms"] for found in camera.predictions[first:]], 90))

    def viewer(path: str) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", server.port))
        found.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return found

    with Sending(server, "alone") as one:
        until(lambda: server.get("/streams/alone.jpg")[0] == 200, "a first frame")
        alone = ages(one.camera, 3)
        warm = [viewer("/streams/alone.mjpeg") for _viewer in range(100)]  # none of them reads anything
        time.sleep(2)
        before, with_deaf = memory(), ages(one.camera, 5)
        assert memory() - before <= 5, "MB"
        for sock in warm:
            sock.close()
        assert with_deaf <= 2 * alone + 5
    assert server.process.poll() is None
