"""mock_fast, but each frame takes half a second: a slow model delays neither the others nor the connection."""

import time
from pathlib import Path
from typing import Any

from PIL import Image

from imageserver.inference.shared.manifest import Manifest

SECONDS = 0.5
"""For each frame; the time limit in model.toml must be larger."""


class Model:
    """Takes Pillow images, because model.toml says frame = "pil"; mock_fast takes arrays."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._frames: dict[str, int] = {}

    def start(self, sid: str, timestamp: int) -> None:
        self._frames[sid] = 0

    def forward_single_frame(self, sid: str, frame: Image.Image, timestamp: int) -> dict[str, Any] | None:
        # Plain sleeping is fine: no other session, model or connection waits for this call. It must just not
        # take for ever.
        time.sleep(SECONDS)
        self._frames[sid] += 1
        return {"mock_slow_frames": self._frames[sid], "mock_slow_size": list(frame.size)}

    def end(self, sid: str, timestamp: int) -> dict[str, Any] | None:
        return {"mock_slow_frames": self._frames.pop(sid)}
