"""Faces from the front, by the cascade `haarcascade_frontalface_alt2` of the OpenCV wheel.

P. Viola, M. Jones: Rapid object detection using a boosted cascade of simple features, CVPR 2001;
R. Lienhart, J. Maydt: An extended set of Haar-like features for rapid object detection, ICIP 2002.

The search runs at 320 pixels on the longer side, whatever the picture has, so a frame of a phone costs no more
than a small one; a face has to be a tenth of that side to be found. The cascade normalises the contrast of each
window itself.

A face is hit by several windows of slightly different place and size. Their number n is the best measure of
confidence that the cascade offers, and the score is n / (n + 3): 0.5 for the three that a face needs at least,
0.8 for twelve. It ranks faces; it is no probability.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.inference.shared.manifest import Manifest

WORKING_SIDE = 320
SMALLEST_FACE = 32
SCALE_STEP = 1.1
LEAST_WINDOWS = 3
MOST_FACES = 50


class Model:
    def __init__(self, folder: Path, manifest: Manifest) -> None:
        path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise FileNotFoundError(
                f"this OpenCV ({cv2.__version__}) comes without {path.name}; install opencv-python-headless 4"
            )

    def predict(self, batch: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        return [self._find(picture[:, :, 0]) for picture in batch]

    def _find(self, grey: NDArray[np.uint8]) -> dict[str, Any]:
        scale = WORKING_SIDE / max(grey.shape)
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        found, windows = self._cascade.detectMultiScale2(
            small, scaleFactor=SCALE_STEP, minNeighbors=LEAST_WINDOWS, minSize=(SMALLEST_FACE, SMALLEST_FACE)
        )
        boxes = [
            {
                "x": x / scale,
                "y": y / scale,
                "width": width / scale,
                "height": height / scale,
                "label": "face",
                "score": round(count / (count + LEAST_WINDOWS), 5),
            }
            for (x, y, width, height), count in zip(
                np.asarray(found).tolist(), np.asarray(windows).tolist(), strict=True
            )
        ]
        boxes.sort(key=lambda box: -box["score"])
        boxes = boxes[:MOST_FACES]
        if not boxes:
            return {"label": "none", "score": 0.0, "labels": [], "boxes": []}
        best = boxes[0]["score"]
        return {"label": "face", "score": best, "labels": [{"label": "face", "score": best}], "boxes": boxes}
