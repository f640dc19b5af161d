"""Photographs of digits as people make them, each with a name for what is difficult in it.

For bench/digits.py and tests.

Deliberately other code than the pictures of the training (src/training/lenet/data.py): what is learnt there
must hold here.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

CAMERA = ((160, 120), (192, 144), (320, 240), (640, 480), (800, 600), (1024, 768), (1280, 960))
"""Sizes, width and height, that the Android app offers."""

INKS = {
    "black": (25, 25, 30),
    "blue": (150, 60, 25),
    "red": (40, 35, 190),
    "green": (50, 110, 30),
    "pencil": (125, 122, 120),
}
"""Ink colours, BGR."""


def scene(
    ink: np.ndarray,
    rng: np.random.Generator,
    size: tuple[int, int] | None = None,
    colour: str = "black",
    shade: float = 0.0,
    shadow: float = 0.0,
    noise: float = 2.0,
    blur: float = 0.0,
    specks: int = 0,
    table: bool = False,
    ruled: float = 0.0,
    tone: float = 235.0,
    fill: float = 0.8,
    chalk: bool = False,
) -> np.ndarray:
    """A BGR photograph, uint8 (height, width, 3), of `ink` (float32, 0 to 1, cropped to the digit).

    `size`: width and height, by default square, 90 to 150 pixels. `shade`: how much the light falls off over
    the picture (0 to 1); `shadow`: how dark a cast shadow with an edge is (0 to 1); `noise`: of the sensor,
    standard deviation in levels; `blur` in hundredths of the height; `specks`: dots at the margin; `table`: a
    dark corner beside the paper; `ruled`: contrast of squared paper's lines; `tone`: brightness of the paper;
    `fill`: share of the height.
    """
    if size is None:
        side = int(rng.integers(90, 151))
        size = side, side
    width, height = size
    scale = min(fill * height / ink.shape[0], 0.9 * width / ink.shape[1])
    w, h = max(2, round(ink.shape[1] * scale)), max(2, round(ink.shape[0] * scale))
    left = int(np.clip((width - w) * rng.uniform(0.35, 0.65), 1, max(1, width - w - 1)))
    top = int(np.clip((height - h) * rng.uniform(0.3, 0.7), 1, max(1, height - h - 1)))
    sheet = np.zeros((height, width), np.float32)
    bigger = cv2.resize(ink, (w, h), interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    sheet[top : top + h, left : left + w] = np.clip(bigger, 0, 1)[: height - top, : width - left]
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    for _ in range(specks):
        edge = rng.integers(4)
        x = (rng.uniform(0, 0.05), rng.uniform(0.95, 1), rng.uniform(), rng.uniform())[edge] * width
        y = (rng.uniform(), rng.uniform(), rng.uniform(0, 0.05), rng.uniform(0.95, 1))[edge] * height
        cv2.circle(sheet, (int(x), int(y)), max(1, round(height * rng.uniform(0.004, 0.014))), 0.9, -1, cv2.LINE_AA)
    light = np.ones((height, width), np.float32)
    if shade:
        angle = rng.uniform(0, 2 * np.pi)
        light *= 1 - shade * (0.5 + ((xx / width - 0.5) * np.cos(angle) + (yy / height - 0.5) * np.sin(angle)) * 0.7)
        light *= 1 - shade * 0.35 * ((xx / width - 0.5) ** 2 + (yy / height - 0.5) ** 2) * 2
    if shadow:
        corners = np.array([[rng.uniform(-0.2, 0.7), -0.1], [1.3, -0.1], [1.3, 1.1], [rng.uniform(0.3, 1.1), 1.1]]) * (
            width,
            height,
        )
        cast = np.zeros((height, width), np.float32)
        cv2.fillPoly(cast, [corners.astype(np.int32)], 1.0)
        if rng.random() < 0.5:
            cast = cast[:, ::-1].copy()
        light *= 1 - shadow * cv2.GaussianBlur(cast, (0, 0), height * rng.uniform(0.004, 0.05))
    paper = np.array([rng.normal(tone - 6, 4), rng.normal(tone, 2), rng.normal(tone, 3)], np.float32)
    grain = cv2.resize(rng.normal(0, 1.5, (height // 3 + 1, width // 3 + 1)).astype(np.float32), (width, height))
    picture = (paper + grain[..., None]) * np.ones((height, width, 1), np.float32)
    if ruled:
        step = height / rng.uniform(3.2, 6)
        lines = ((xx + rng.uniform(0, step)) % step < max(1.0, height / 110)) | (
            (yy + rng.uniform(0, step)) % step < max(1.0, height / 110)
        )
        picture *= 1 - ruled * lines[..., None] * np.array([0.5, 0.9, 1.1], np.float32)
    wet = np.array((235, 238, 236) if chalk else INKS[colour], np.float32)
    if chalk:
        picture *= np.array([55, 62, 50], np.float32) / tone
    cover = (sheet * rng.uniform(0.85, 0.98))[..., None]
    picture = picture * (1 - cover) + wet * cover
    if table:
        corner = rng.integers(4)
        reach = rng.uniform(0.06, 0.16, 2) * (width, height)
        points = np.array([[0, 0], [reach[0] * 1.6, 0], [0, reach[1] * 1.6]])
        if corner & 1:
            points[:, 0] = width - points[:, 0]
        if corner & 2:
            points[:, 1] = height - points[:, 1]
        wood = np.zeros((height, width), np.float32)
        cv2.fillPoly(wood, [points.astype(np.int32)], 1.0, cv2.LINE_AA)
        picture = picture * (1 - wood[..., None]) + np.array([40, 60, 85], np.float32) * wood[..., None]
    picture *= light[..., None]
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur * height / 100)
    picture += rng.normal(0, noise, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


SCENES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "plain": lambda i, r: scene(i, r, noise=0.5, tone=250),
    "fills it": lambda i, r: scene(i, r, fill=0.97),
    "wide margin": lambda i, r: scene(i, r, fill=0.5),
    "grey paper": lambda i, r: scene(i, r, tone=float(r.uniform(120, 190)), noise=4),
    "uneven light": lambda i, r: scene(i, r, shade=float(r.uniform(0.3, 0.7))),
    "shadow": lambda i, r: scene(i, r, shadow=float(r.uniform(0.25, 0.6)), shade=0.15),
    "noise": lambda i, r: scene(i, r, noise=float(r.uniform(10, 20)), tone=200, shade=0.4),
    "blur": lambda i, r: scene(i, r, blur=float(r.uniform(1, 2.2))),
    "specks": lambda i, r: scene(i, r, specks=int(r.integers(1, 5)), shade=0.2),
    "table corner": lambda i, r: scene(i, r, table=True, shade=0.2),
    "squared paper": lambda i, r: scene(i, r, ruled=float(r.uniform(0.08, 0.2))),
    "blue ink": lambda i, r: scene(i, r, colour="blue", shade=0.3),
    "red ink": lambda i, r: scene(i, r, colour="red", shade=0.3),
    "green ink": lambda i, r: scene(i, r, colour="green", shade=0.3),
    "pencil": lambda i, r: scene(i, r, colour="pencil", shade=0.3, noise=4),
    "chalk": lambda i, r: scene(i, r, chalk=True, shade=0.3, noise=4),
    "hard shadow": lambda i, r: scene(
        i, r, shadow=float(r.uniform(0.5, 0.75)), shade=0.3, noise=5, fill=float(r.uniform(0.6, 0.95))
    ),
    "all at once": lambda i, r: scene(
        i, r, shadow=0.4, shade=0.3, noise=8, blur=1, specks=2, table=True, ruled=0.1, tone=180
    ),
    "camera": lambda i, r: scene(
        i, r, size=CAMERA[int(r.integers(len(CAMERA)))], fill=float(r.uniform(0.65, 0.92)), shade=0.3, noise=4
    ),
    "camera, shadow": lambda i, r: scene(
        i, r, size=CAMERA[int(r.integers(3))], fill=0.8, shade=0.2, shadow=0.4, noise=4
    ),
}


def tidy(ink: np.ndarray, side: int = 168) -> np.ndarray:
    """A small grey digit (any size, 0 to 255) as smooth strokes with clear edges: float32 0 to 1, cropped to it."""
    big = cv2.resize(ink.astype(np.float32) / max(1.0, float(ink.max())), (side, side), interpolation=cv2.INTER_CUBIC)
    big = np.clip((cv2.GaussianBlur(big, (0, 0), side / 80) - 0.42) * 5 + 0.5, 0, 1).astype(np.float32)
    return cropped(big)


def cropped(ink: np.ndarray) -> np.ndarray:
    """`ink`, float32 0 to 1, without its empty margins."""
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.3), np.flatnonzero(ink.max(axis=0) > 0.3)
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def pen(ink: np.ndarray, rng: np.random.Generator, thick: float) -> np.ndarray:
    """`ink` with strokes wider (`thick` > 0) or narrower by this share of its height."""
    size = max(1, round(abs(thick) * ink.shape[0])) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    if thick > 0:
        return cv2.dilate(cv2.copyMakeBorder(ink, size, size, size, size, cv2.BORDER_CONSTANT), kernel)
    thin = cv2.erode(ink, kernel)
    return thin if thin.sum() > 0.4 * ink.sum() else ink
