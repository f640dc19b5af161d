"""A client of sessions, written from the protocol alone, and models to watch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tests.running import PATIENCE, TEST_MODELS, Camera, picture, until

MANIFEST = """
kind = "custom"
[input]
width = 16
height = 16
preprocessing = "none"
[runtime]
runtime = "python"
[state]
"""


class Client(Camera):
    """The three events, their acknowledgements, and the predictions."""

    def call(self, event: str, message: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.client.call(event, message, timeout=PATIENCE))
        return answer

    def start(self, timestamp: int = 1000) -> dict[str, Any]:
        return self.call("session_start", struct.pack("<Q", timestamp))

    def frame(self, number: int, timestamp: int) -> dict[str, Any]:
        return self.call("frame", struct.pack("<Q", timestamp) + picture(number, suffix=".png"))

    def end(self, timestamp: int = 9000) -> dict[str, Any]:
        return self.call("session_end", struct.pack("<Q", timestamp))

    def wait(self, count: int) -> list[dict[str, Any]]:
        until(lambda: len(self.predictions) >= count, f"{count} predictions, have {self.predictions}")
        return self.predictions

    def last_word(self) -> dict[str, Any]:
        """The prediction after `session_end`: the only one without a frame."""
        found: dict[str, Any] = until(
            lambda: next((one for one in self.predictions if "frame" not in one), None), "the last word"
        )
        return found


def write_model(models: Path, name: str, code: str, state: str = "") -> Path:
    """A folder with a stateful model, whole at once, as a copy of a finished folder would be."""
    folder = models / name
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(code)
    (folder / ".model.toml").write_text(MANIFEST + state)
    (folder / ".model.toml").rename(folder / "model.toml")
    return folder


def models_folder(folder: Path) -> Path:
    """A folder of models with the one that a server needs to start."""
    models = folder / "models"
    models.mkdir()
    (models / "echo").symlink_to(TEST_MODELS / "echo")
    return models
