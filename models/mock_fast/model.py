"""The smallest model that keeps state: counts the frames of each session. Copy this folder to begin one of your own."""

from pathlib import Path
from typing import Any

import numpy as np

from imageserver.inference.shared.manifest import Manifest


class Model:
    """One object may serve several sessions, one call at a time; what belongs to a session is kept under its `sid`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        # Called before any session: read weights from `folder` here, not in `start`.
        self._frames: dict[str, int] = {}

    def start(self, sid: str, timestamp: int) -> None:
        """A session begins at `timestamp`, milliseconds since the epoch."""
        self._frames[sid] = 0

    def forward_single_frame(self, sid: str, frame: np.ndarray, timestamp: int) -> dict[str, Any] | None:
        """`frame`: uint8 RGB, (height, width, 3). What is returned goes to the client; None says nothing.

        Results of all models are merged into one object, so keys carry the model's name: another model would
        overwrite a plain `frames`.
        """
        self._frames[sid] += 1
        # Whatever JSON can hold: numbers (numpy's, too), text, lists, dictionaries, None.
        return {"mock_fast_frames": self._frames[sid], "mock_fast_brightness": round(float(frame.mean()), 1)}

    def end(self, sid: str, timestamp: int) -> dict[str, Any] | None:
        """The session is over, also when its connection was lost: forget it, or memory grows with each one."""
        return {"mock_fast_frames": self._frames.pop(sid)}
