"""MLServer as the other side: tensors over HTTP and gRPC, and what becomes of a model when it is stopped and killed.

It runs in an environment of its own, `build/mlserver`, which `make test-long` makes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.inference.test_elsewhere import PATIENCE, Front
from tests.inference.worker.remote.other_side import FORM, make_model
from tests.nginx import free_ports
from tests.running import ROOT, TEST_MODELS, picture, until

PROGRAM = ROOT / "build" / "mlserver" / "bin" / "mlserver"
MODEL = """
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Brightness(MLModel):
    async def predict(self, payload):
        pixels = NumpyCodec.decode_input(payload.inputs[0])
        bright = pixels.reshape(len(pixels), -1).mean(axis=1)
        scores = np.stack([1 - bright, bright], axis=1).astype(np.float32)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])
"""
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PROGRAM.exists(), reason="MLServer is not installed: make test-long does so"),
]


class MLServer:
    """One that serves `brightness`. `start` again after `kill`: it comes back on the same ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.http_port, self.grpc_port, metrics_port = free_ports(3)
        ports = {"http_port": self.http_port, "grpc_port": self.grpc_port, "metrics_port": metrics_port}
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps({"implementation": "model.Brightness", **FORM}))
        (folder / "model.py").write_text(MODEL)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it serves the model."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "start", "."], cwd=self._folder, stdout=log, stderr=log)
        until(self._ready, "MLServer", every=0.1)

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.wait(30)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return requests.get(f"http://127.0.0.1:{self.http_port}/v2/models/brightness/ready", timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False

    def __enter__(self) -> MLServer:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill(signal.SIGCONT)
            self.kill()


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_it_answers_is_missed_and_comes_back(tmp_path: Path, over: str) -> None:
    other, here = tmp_path / "other", tmp_path / "here"
    other.mkdir()
    here.mkdir()
    with MLServer(other) as side:
        port = side.http_port if over == "http" else side.grpc_port
        make_model(tmp_path / "models" / "far", f"{over}://127.0.0.1:{port}")
        (tmp_path / "models" / "echo").symlink_to(TEST_MODELS / "echo")
        limits = ("--preload", "echo", "--remote-look-every", "200ms", "--remote-seconds", "2s")
        with Front(*limits, data=here, models=tmp_path / "models", model="far") as front:
            front.ready()
            front.reached()
            for brightness, label in ((204, "bright"), (51, "dark")) * 4:
                found: dict[str, Any] = front.classify("far", picture(brightness)).json()
                assert (found["label"], round(found["score"], 2)) == (label, 0.8), found
            for number, ended in ((signal.SIGSTOP, signal.SIGCONT), (signal.SIGKILL, None)):
                side.kill(number)
                begun = time.monotonic()
                answer = front.classify("far", picture(204))
                assert (answer.status_code, time.monotonic() - begun < 12) == (503, True), answer.text
                assert front.classify("echo", picture(9)).json()["label"] == "9"
                side.start() if ended is None else side.kill(ended)
                until(lambda: front.classify("far", picture(204)).status_code == 200, "it to come back", every=0.2)
