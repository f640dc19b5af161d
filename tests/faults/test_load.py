"""The cameras of the faults see what they should: else every promise would be kept."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.faults.load import Cameras, Figures
from tests.running import Server, until


def test_the_share_of_ages() -> None:
    figures = Figures(ages=[float(number) for number in range(1, 101)])
    assert (figures.age(0.5), figures.age(0.99), figures.age(1.0)) == (51.0, 100.0, 100.0)
    assert Figures().age(0.5) == 0.0


def test_cameras_count_answers_refusals_and_what_ends(tmp_path: Path) -> None:
    options = ("-a", "--user", "eve:a password", "--hz", "20")
    with Server(*options, data=tmp_path) as server:
        with Cameras(server.port, count=1, hz=10, user="eve", password="a password", generation=3) as cameras:
            assert not cameras.settle().look().errors
        with Cameras(server.port, count=2, hz=10, user="eve", password="a password") as cameras:
            figures = cameras.settle().during(1.0)
            assert figures.connected == 2 and not figures.lost and not figures.errors
            assert figures.answered >= 2 and figures.sent >= figures.answered - 2
            assert len(figures.ages) == figures.answered and 0 < figures.age(0.5) <= figures.age(1.0)
            server.process.send_signal(signal.SIGKILL)
            until(lambda: cameras.look().lost == 2, "both connections to end")
            assert cameras.look().connected == 0
            pids = [cameras.process.pid]
        with Cameras(server.port, count=1, user="eve", password="a password", reconnect=True) as cameras:
            until(lambda: cameras.look().refused >= 1, "a refusal")
            pids.append(cameras.process.pid)
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
