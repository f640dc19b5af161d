"""Pictures that are no chest X-rays, and X-rays as nobody should show them: by these the input check is judged.

All are 28x28 and grey, prepared as the server prepares what comes in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.errors import SettingError
from imageserver.training.shapes import backgrounds
from imageserver.training.xray.data import SIDE, Pictures

Reals = NDArray[Any]

SEEN, OTHERWISE = "training pictures", "as another machine would give them"
PIECES = 40
"""Of a photograph, beside its middle: squares of 30 to 100 % of its shorter side, from anywhere."""
SOME = 500
"""Of the training pictures, in each kind that is made of them."""
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "moon", "retina", "rocket",
)  # fmt: skip
"""Names in `skimage.data`, whose pictures come with the package."""


def kinds(images: Pictures, folder: Path | None, seed: int) -> dict[str, Reals]:
    """By kind, (n, 28, 28) in 0..255.

    Args:
        images: the training pictures.
        folder: of further photographs.
        seed: of all that is drawn.

    Raises:
        SettingError: there are none.
    """
    from imageserver.training.xray import fit  # TensorFlow

    rng = np.random.default_rng(seed)
    found: dict[str, Reals] = {SEEN: images, OTHERWISE: fit.otherwise(images, seed)}
    found["photographs of scikit-image"] = photographs(list(backgrounds.photographs(PHOTOGRAPHS)), rng)
    found["faces of 25x25 pixels"] = _faces()
    found["pages of text"] = photographs(list(backgrounds.photographs(("page", "text"))), rng)
    if folder is not None:
        found["other photographs"] = photographs(_read(folder), rng)
    some = images[rng.permutation(len(images))[:SOME]]
    found |= {"X-rays, inverted": 255 - some, "X-rays, upside down": some[:, ::-1]}
    found["X-rays, on their side"] = np.rot90(some, 1, (1, 2))
    found |= {f"X-rays, with a margin of {margin:.0%}": _framed(some, margin, rng) for margin in (0.05, 0.1, 0.2)}
    found["X-rays at 15 % of their contrast"] = (some * 0.15 + 100).astype(np.uint8)
    found["X-rays from 20x20 pixels"] = np.stack([_shrunk(each, 20) for each in some])
    found["noise"] = rng.integers(0, 256, (SOME, SIDE, SIDE), np.uint8)
    found["black, white and grey"] = np.stack([np.full((SIDE, SIDE), grey, np.uint8) for grey in range(0, 256, 15)])
    return found


def photographs(wholes: list[Any], rng: np.random.Generator) -> Reals:
    """Of each the middle square, and pieces."""
    return np.stack([each for whole in wholes for each in (_prepared(whole), *_pieces(whole, rng))])


def _faces() -> Reals:
    """A hundred, of the pieces of "Labelled Faces in the Wild" that come with scikit-image."""
    from skimage import data

    faces = (data.lfw_subset()[:100] * 255).astype(np.uint8)
    return np.stack([cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for each in faces])


def _read(folder: Path) -> list[Any]:
    found = [pixels for path in sorted(folder.iterdir()) if (pixels := cv2.imread(str(path))) is not None]
    if not found:
        raise SettingError(f"--photographs {folder} holds no pictures")
    return found


def _prepared(bgr: Any) -> Any:
    from imageserver.inference.shared.manifest import Input
    from imageserver.inference.worker.preprocessing.xray import xray

    wanted = Input(SIDE, SIDE, 1, "rgb", (0.0, 255.0), (), (), "nhwc", "xray")
    return xray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), wanted)[..., 0]


def _pieces(whole: Any, rng: np.random.Generator) -> list[Any]:
    height, width = whole.shape[:2]
    found = []
    for _ in range(PIECES):
        side = int(min(height, width) * rng.uniform(0.3, 1.0))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        piece = whole[top : top + side, left : left + side]
        found.append(_prepared(piece[:, ::-1] if rng.random() < 0.5 else piece))
    return found


def _framed(images: Pictures, margin: float, rng: np.random.Generator) -> Reals:
    """Smaller, on black, a grey or white: a margin of so much of the side all around, as a photo of a screen has."""
    inner = round(SIDE * 8 * (1 - 2 * margin))
    found = []
    for each in images:
        at = (SIDE * 8 - inner) // 2
        large = np.full((SIDE * 8, SIDE * 8), int(rng.choice([0, 60, 128, 255])), np.uint8)
        large[at : at + inner, at : at + inner] = cv2.resize(each, (inner, inner), interpolation=cv2.INTER_LINEAR)
        found.append(_shrunk(large, SIDE))
    return np.stack(found)


def _shrunk(image: Any, side: int) -> Any:
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
