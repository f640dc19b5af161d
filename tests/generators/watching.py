"""Run one of the shipped stateful models on a video that face_video.py makes, without a server."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imageserver.inference.shared import manifest
from imageserver.inference.worker.model_api import load_code

MODELS = Path(__file__).resolve().parents[2] / "models"


@dataclass
class Watched:
    """What came of a video.

    `answers`: (seconds since the start, what the model returned), without None; `end`: its last word; `cpu_ms`: of each
    frame.
    """

    answers: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    cpu_ms: list[float] = field(default_factory=list)

    def values(self, key: str) -> list[float]:
        """What was said of `key`, where it was not null."""
        return [answer[key] for _, answer in self.answers if answer[key] is not None]

    def told(self, key: str) -> float:
        """The part of the answers in which `key` is not null."""
        return len(self.values(key)) / max(1, len(self.answers))


def open_model(name: str) -> Any:
    """A new object of the class in models/<name>/model.py, as a worker makes it."""
    found = manifest.read(MODELS / name)
    return load_code(found).Model(found.folder, found)


def watch(model: Any, frames: Iterable[tuple[int, np.ndarray]], sid: str = "one") -> Watched:
    """One session from start to end."""
    result = Watched()
    first = timestamp = None
    for timestamp, frame in frames:
        if first is None:
            first = timestamp
            model.start(sid, timestamp)
        began = time.thread_time()
        answer = model.forward_single_frame(sid, frame, timestamp)
        result.cpu_ms.append((time.thread_time() - began) * 1000)
        if answer is not None:
            result.answers.append(((timestamp - first) / 1000, answer))
    result.end = model.end(sid, timestamp)
    return result
