"""What a session's models see and when the client hears of it, with models that stand still until they are let go."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from tests.protocols.session_client import Client, models_folder, write_model
from tests.running import PATIENCE, ROOT, Server, until

from imageserver.inference.server import child_process
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.stateful import worker
from imageserver.inference.server.stateful.models import StatefulModels
from imageserver.inference.shared.registry import Registry
from imageserver.transport import hub

DIARY = """
class Model:
    def __init__(self, folder, manifest):
        self.name, self.calls = manifest.name, {}

    def start(self, sid, timestamp):
        assert sid not in self.calls
        self.calls[sid] = [["start", timestamp]]

    def forward_single_frame(self, sid, frame, timestamp):
        self.calls[sid].append(["frame", timestamp])
        shape = getattr(frame, "shape", getattr(frame, "size", None))
        return {self.name + "_frame": str(type(frame)), self.name + "_shape": shape}

    def end(self, sid, timestamp):
        return {self.name + "_calls": [*self.calls.pop(sid), ["end", timestamp]]}
"""

GATED = """
import time
from pathlib import Path

CLOSED = Path({closed!r})

class Model:
    def __init__(self, folder, manifest):
        self.name, self.seen = manifest.name, {{}}

    def start(self, sid, timestamp):
        self.seen[sid] = []

    def forward_single_frame(self, sid, frame, timestamp):
        CLOSED.with_name(f"{{self.name}}_{{timestamp}}").touch()
        while CLOSED.exists():
            time.sleep(0.005)
        self.seen[sid].append(timestamp)
        return {{f"{{self.name}}_{{timestamp}}": True}}

    def end(self, sid, timestamp):
        return {{self.name + "_seen": self.seen.pop(sid)}}
"""

LAZY = """
import time

class Model:
    def __init__(self, folder, manifest):
        time.sleep(1.2)

    def start(self, sid, timestamp):
        self.exits = timestamp == 666

    def forward_single_frame(self, sid, frame, timestamp):
        if self.exits:
            raise SystemExit("away")
        return {"lazy": True}

    def end(self, sid, timestamp): ...
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Models that tell what they were called with, and one that takes longer to load than a call may take."""
    folder = tmp_path_factory.mktemp("watched")
    models = models_folder(folder)
    write_model(models, "diary", DIARY, "every_frame = true\n")
    write_model(models, "pillow", DIARY, 'frame = "pil"\nevery_frame = true\n')
    write_model(models, "lazy", LAZY, "time_limit_s = 0.5\nevery_frame = true\n")
    arguments = (
        "--session-models",
        "diary,pillow,lazy",
        "--preload",
        "lazy",
        "--merge-deadline",
        "30s",
        "--session-idle",
        "5s",
    )
    with Server(*arguments, models=models, data=folder) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """Two models that stand still while a file exists."""
    folder = tmp_path_factory.mktemp("gated")
    models, closed = models_folder(folder), folder / "closed"
    write_model(models, "diary", DIARY, "every_frame = true\n")
    write_model(
        models, "every", GATED.format(closed=str(closed)), "every_frame = true\nqueue = 4\ntime_limit_s = 100\n"
    )
    write_model(models, "newest", GATED.format(closed=str(closed)), "time_limit_s = 100\n")
    arguments = ("--session-models", "diary,every,newest", "--session-bytes", "1M", "--no-jail")  # they touch files
    with Server(*arguments, models=models, data=folder) as server:
        with Client(server.ready()) as client:
            client.start()
            client.frame(3, 1)
            client.end()
            client.last_word()  # every model has loaded
        yield server, closed


def test_models_hear_of_a_session_without_frames(watched: Server) -> None:
    with Client(watched) as client:
        assert client.start(1000)["success"]
        assert client.end(9000)["success"]
        last = client.last_word()
        assert last["diary_calls"] == last["pillow_calls"] == [["start", 1000], ["end", 9000]]
        assert (last["timestamp"], last["recv_ts"], last["success"]) == (9000, 9000, True)


def test_frames_come_as_arrays_or_as_pillow_images(watched: Server) -> None:
    with Client(watched) as client:
        client.start()
        client.frame(3, 1)
        prediction = client.wait(1)[0]
        assert (prediction["diary_frame"], prediction["diary_shape"]) == ("<class 'numpy.ndarray'>", [48, 64, 3])
        assert (prediction["pillow_frame"], prediction["pillow_shape"]) == ("<class 'PIL.Image.Image'>", [64, 48])


def test_any_64_bits_are_a_time(watched: Server) -> None:
    with Client(watched) as client:
        latest = 2**64 - 1
        client.start(latest)
        client.frame(3, latest)
        assert client.wait(1)[0]["recv_ts"] == latest
        until(lambda: not client.frame(3, 0)["success"] or not client.predictions.clear(), "a frame of any time")
        client.end(0)
        assert client.last_word()["diary_calls"][-1] == ["end", 0]


def test_an_idle_session_ends_in_the_time_of_its_client(watched: Server) -> None:
    with Client(watched) as client:
        client.start(1000)
        client.frame(3, 5000)
        calls = client.last_word()["diary_calls"]
        assert [op for op, _time in calls] == ["start", "frame", "end"]
        assert 5000 < calls[-1][1] < 10**9


def test_loading_does_not_count_as_a_call_that_takes_too_long(watched: Server) -> None:
    watched.wait_for("model lazy is ready for sessions")
    with Client(watched) as one, Client(watched) as two, Client(watched) as three:
        for client in (one, two, three):  # each in a lane with a model object of its own, made when it is needed
            client.start()
            client.frame(3, 1)
        for client in (one, two, three):
            prediction = client.wait(1)[0]
            assert prediction["lazy"] is True
            assert "errors" not in prediction


def test_a_model_that_wants_to_exit_fails_like_any_other(watched: Server) -> None:
    with Client(watched) as client:
        client.start(666)
        client.frame(3, 1)
        prediction = client.wait(1)[0]
        assert prediction["errors"] == {"lazy": "the model failed in forward_single_frame (SystemExit)"}
        assert "diary_shape" in prediction


def test_a_model_that_stands_still_holds_up_neither_the_acknowledgement_nor_the_others(
    gated: tuple[Server, Path],
) -> None:
    server, closed = gated
    closed.touch()
    try:
        with Client(server) as client:
            client.start()
            for time in (1, 2, 3):
                assert client.frame(3, time)["success"], "acknowledged while two models stand still"
            predictions = client.wait(3)
            assert [(one["seq"], one["timestamp"]) for one in predictions] == [(1, 1), (2, 2), (3, 3)]
            assert not any(key.startswith(("every", "newest")) for one in predictions for key in one)
            until(lambda: "diary_shape" in client.predictions[-1] or not client.frame(3, 4), "the model that is free")
            closed.unlink()
            client.end()
            client.last_word()
            heard = {key for one in client.predictions for key in one}
            assert {"every_1", "every_2", "every_3"} <= heard, "late, but with a later prediction"
            assert any(key.startswith("newest") for key in heard)
    finally:
        closed.unlink(missing_ok=True)


def test_every_frame_or_the_newest_in_order(gated: tuple[Server, Path]) -> None:
    server, closed = gated
    closed.touch()
    try:
        with Client(server) as client:
            client.start()
            assert client.frame(3, 701)["success"]
            until(
                lambda: all(closed.with_name(f"{name}_701").exists() for name in ("every", "newest")),
                "both models to stand still",
            )
            for time in (702, 703, 704, 705):  # four more may wait for one of them, one for the other
                assert client.frame(3, time)["success"]
            refused = client.frame(3, 706)
            assert refused["success"] is False
            assert "4 frames wait for the model 'every'" in refused["error"]
            closed.unlink()
            client.end()
            last = client.last_word()
            assert last["every_seen"] == [701, 702, 703, 704, 705]
            assert last["newest_seen"] == [701, 705]
            assert [call[1] for call in last["diary_calls"]] == [1000, 701, 702, 703, 704, 705, 9000]
    finally:
        closed.unlink(missing_ok=True)


def test_waiting_frames_of_all_sessions_have_one_bound(gated: tuple[Server, Path]) -> None:
    server, closed = gated
    noise = np.frombuffer(random.Random(1).randbytes(200 * 270 * 3), np.uint8).reshape(200, 270, 3)
    large = cv2.imencode(".png", noise)[1].tobytes()
    closed.touch()
    try:
        with Client(server) as one, Client(server) as two:

            def fill(client: Client) -> dict[str, Any]:
                answer: dict[str, Any] = until(
                    lambda: next(
                        (a for a in [client.call("frame", struct.pack("<Q", 1) + large)] if not a["success"]), None
                    ),
                    "a refusal",
                )
                return answer

            for client in (one, two):
                client.start()
            assert "memory" in fill(one)["error"]
            assert "memory" in fill(two)["error"]
        closed.unlink()
        with Client(server) as client:

            def accepted() -> bool:
                client.start()
                return bool(client.call("frame", struct.pack("<Q", 1) + large)["success"])

            until(accepted, "room for frames, now that those sessions are over")
    finally:
        closed.unlink(missing_ok=True)


def test_sessions_that_cannot_end_are_not_heaped_up(gated: tuple[Server, Path]) -> None:
    server, closed = gated
    closed.touch()
    try:
        with Client(server) as client:
            client.start()
            client.frame(3, 1)
            client.wait(1)
            refusals = []
            for _ in range(20):
                client.end()
                answer = client.start()
                if not answer["success"]:
                    refusals.append(answer["error"])
                client.frame(3, 1)
            assert "still ending" in refusals[0]
            closed.unlink()
            until(lambda: client.start()["success"], "a session once the others have ended")
    finally:
        closed.unlink(missing_ok=True)


HURT = DIARY.replace('self.calls[sid].append(["frame", timestamp])', "import os; os.kill(os.getpid(), 9)")


def test_a_preloaded_worker_is_tried_again_without_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "START_AGAIN_AFTER", 0.01)
    started, missing = hub.Event(), ["descriptor"] * 3

    def start(*_arguments: Any, **_options: Any) -> mock.Mock:
        if missing:
            raise OSError(24, f"no {missing.pop()}")
        started.set()
        return mock.Mock(pid=1)

    monkeypatch.setattr(worker, "ChildProcess", start)
    folder = models_folder(tmp_path)
    write_model(folder, "diary", DIARY)
    registry, lines = Registry(folder), list[str]()
    registry.scan()
    models = StatefulModels(
        registry.manifests.__getitem__,
        arguments=[],
        jails=Jails([folder], tmp_path / "cache"),
        slot_bytes=1000,
        max_bytes=1000,
        put_off_time=1.0,
        log=lines.append,
        warn=lines.append,
    )
    models.preload("diary")
    assert started.wait(PATIENCE)
    models.stop()
    assert lines[-1] == "session worker diary can be started again"


def told(version: int) -> str:
    return DIARY.replace('{self.name + "_frame":', f'{{"version": {version}, self.name + "_frame":')


def test_folders_of_models_change_under_running_sessions(tmp_path: Path) -> None:
    models = models_folder(tmp_path)
    write_model(models, "told", told(1), "every_frame = true\n")
    write_model(models, "hurt", HURT, "every_frame = true\n")
    arguments = ("--session-models", "told,hurt", "--merge-deadline", "30s")
    with Server(*arguments, models=models, data=tmp_path) as server, Client(server.ready()) as old:
        assert old.start()["success"]
        for number in (1, 2):
            old.frame(number, number)
            assert "started anew" in old.wait(number)[-1]["errors"]["hurt"]
        old.frame(3, 3)
        third = old.wait(3)[-1]
        assert "ended with what you sent" in third["errors"]["hurt"], "who did that twice waits"
        assert third["version"] == 1, "and the other goes on"

        def newly(client: Client) -> dict[str, Any]:
            """What a new session hears for a frame."""
            client.predictions.clear()
            assert client.start()["success"]
            client.frame(3, 1)
            found = client.wait(1)[0]
            client.end()
            client.last_word()
            return found

        with Client(server) as client:
            found = newly(client)
            assert found["version"] == 1
            assert "ended with what you sent" in found["errors"]["hurt"], "a session begins without it, and hears why"

            write_model(models, "hurt", DIARY, "every_frame = true\n")
            write_model(models, "told", told(22), "every_frame = true\n")
            until(
                lambda: (one := newly(client))["version"] == 22 and "hurt_shape" in one,
                "the new versions in a new session",
            )
            old.frame(3, 4)
            assert old.wait(4)[-1]["version"] == 1, "a session that runs keeps its version"
            assert len(server.workers()) >= 3
            assert old.end()["success"]
            assert len(old.last_word()["told_calls"]) == 6

            client.start()
            shutil.rmtree(models / "told")
            with Client(server) as other:
                until(lambda: "no model 'told'" in newly(other).get("errors", {}).get("told", ""), "its removal")
                client.predictions.clear()
                client.frame(3, 1)
                assert client.wait(1)[0]["version"] == 22, "a session that runs goes on without the folder"
                shutil.rmtree(models / "hurt")
                refused = until(
                    lambda: answer if not (answer := other.start())["success"] else other.end() and None,
                    "no models at all",
                )
                assert "no model 'hurt'" in refused["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "sleeper"], "--model: 'sleeper' keeps state"),
        (["--session-models", "echo"], "--session-models: the model 'echo' keeps no state"),
        (["--session-models", "sleeper,nix"], "there is no model 'nix'"),
    ],
)
def test_a_model_of_the_other_kind_costs_one_sentence_and_code_2(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    program = [sys.executable, str(ROOT / "src" / "ImageServer.py"), "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off"]
    models = ["--data", str(tmp_path), "--models", str(ROOT / "tests" / "models")]
    default = [] if "-m" in arguments else ["-m", "echo"]
    ended = subprocess.run(
        [*program, *models, *default, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert words in ended.stderr


def test_without_models_no_session_starts(tmp_path: Path) -> None:
    with Server(models=models_folder(tmp_path), data=tmp_path) as server, Client(server.ready()) as client:
        answer = client.start()
        assert answer["success"] is False
        assert "--session-models" in answer["error"]
