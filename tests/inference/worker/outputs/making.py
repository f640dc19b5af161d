"""Manifests and backends for tests of networks that find something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imageserver.inference.shared.manifest import Batch, Input, Manifest, Output, Runtime
from imageserver.inference.shared.outputs.detection import Detection
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.decode import Picture


def manifest(
    width: int,
    height: int,
    classes: int,
    *,
    kind: str = "detection",
    labels: tuple[str, ...] | None = None,
    preprocessing: str = "stretch",
    activation: str = "none",
    max_batch: int = 4,
    **settings: Any,
) -> Manifest:
    """Of a network; `settings` are those of its boxes."""
    detection = Detection(**settings) if "format" in settings else None
    names = labels if labels is not None else tuple(f"thing {index}" for index in range(classes))
    return Manifest(
        folder=Path("/models/net"),
        name="net",
        title="",
        description="",
        kind=kind,
        tcp_code=None,
        listed=True,
        input=Input(width, height, 3, "rgb", (0.0, 255.0), (), (), "nhwc", preprocessing),
        output=Output(names, activation, None, detection=detection),
        batch=Batch(max_batch, 0.0),
        runtime=Runtime("openvino", "float32", None, None, ""),
        state=None,
        members=(),
        permissions=None,
    )


class Fake:
    """A backend that gives what a function makes of the batch."""

    text = "fake"

    def __init__(
        self,
        function: Callable[[np.ndarray], list[np.ndarray]],
        names: tuple[str, ...] = ("output",),
        single: bool = False,
    ) -> None:
        self._function = function
        self.outputs, self.single = names, single
        self.batches: list[np.ndarray] = []

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.run_all(batch)[0]

    def run_all(self, batch: np.ndarray) -> list[np.ndarray]:
        self.batches.append(batch.copy())
        return self._function(batch)


def context() -> LoadContext:
    return LoadContext(lambda _text: None)


def picture(width: int, height: int) -> Picture:
    return Picture(np.zeros((height, width, 3), np.uint8), (width, height))
