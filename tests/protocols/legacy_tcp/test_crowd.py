"""Five hundred clients of the legacy TCP port at once, beside a camera."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.protocols.legacy_tcp.test_server import address_of
from tests.running import ROOT, Camera, Server, picture, until

CROWD = 500


def crowd_beside(server: Server, film: Callable[[], None]) -> float:
    """Let the crowd in, call `film` again and again until it has gone; returns the seconds it took."""
    host, port = address_of(server)
    pictures = [
        base64.b64encode(picture(grey) + bytes(100_000)) for grey in (200, 20)
    ]  # what follows a JPEG's end does not count
    program = [sys.executable, str(ROOT / "tests/protocols/legacy_tcp/crowd.py"), host, str(port), str(CROWD)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
        assert crowd.stdin is not None
        assert crowd.stdout is not None
        crowd.stdin.write("".join(data.decode() + "\n" for data in pictures))
        crowd.stdin.close()
        while crowd.poll() is None:
            film()
        report = json.loads(crowd.stdout.read())
    assert report["answers"] == {"0 ?00000P0": CROWD // 2, "1 ?00000N0": CROWD // 2}, server.text
    return float(report["seconds"])


CROWDED = ("--tcp-port", "0", "--tcp-max-per-host", "0", "--preload", "chest")


@pytest.mark.alone
def test_five_hundred_at_once_beside_a_camera(tmp_path: Path) -> None:
    with Server(*CROWDED, data=tmp_path) as server, Camera(server.ready()) as camera:
        server.wait_for("models ready")
        crowd_beside(server, lambda: camera.ask(picture(50)) and None)
        assert camera.errors == []
        assert camera.predictions[-1]["dropped"] == 0


@pytest.mark.alone
@pytest.mark.long
def test_five_hundred_at_once_beside_a_camera_of_ten_hertz(tmp_path: Path) -> None:
    """It does not wait for answers: one that takes a tenth of a second can cost a frame. For a quiet machine."""
    with Server(*CROWDED, data=tmp_path) as server, Camera(server.ready()) as camera:
        server.wait_for("models ready")
        frame, sent = picture(50), 0

        def film() -> None:
            nonlocal sent
            camera.send(frame)
            sent += 1
            time.sleep(0.1)

        seconds = crowd_beside(server, film)
        until(lambda: camera.predictions and camera.predictions[-1]["seq"] == sent, "the last prediction")
        print(
            f"\n{CROWD} clients in {seconds:.2f} s; the camera's predictions took",
            sorted(answer["age_ms"] for answer in camera.predictions),
            "ms",
        )
        assert [answer["seq"] for answer in camera.predictions] == list(range(1, sent + 1))
