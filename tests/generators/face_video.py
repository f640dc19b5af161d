"""Videos of a face with a known pulse and known blinks, for tests and measurements. Deterministic for a seed.

A face (scikit-image's photograph, or a drawn one in any skin colour) is moved, lit and given a pulse in linear steps,
in floats; then come the sensor's noise, the rounding to 8 bits and the camera's compression, in the order of a real
camera.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATIOS = (0.33, 0.77, 0.53)
"""Relative strength of the pulse in normalised red, green and blue (de Haan and van Leest 2014)."""

SKINS = {"light": (224, 180, 155), "medium": (190, 135, 105), "dark": (112, 76, 58)}


@dataclass(frozen=True)
class Case:
    """What a video shows. `strength`: peak amplitude in the skin's green, as a fraction; 0: no pulse.

    `bpm`: beats a minute, or a function of seconds. `noise`: standard deviation in levels. `codec`: "jpeg:90", "png"
    or "". `drift`: fraction by which the light slowly changes. `tint`: the same, of its colour. `flicker`: (fraction,
    Hz) of the light.
    `motion`: pixels of slow sway at 320 pixels width. `jitter`: standard deviation of the frame times in ms.
    `closed`: seconds at which the eyes close, and for how long (drawn faces only).
    """

    bpm: float | Callable[[float], float] = 72.0
    fps: float = 10.0
    seconds: float = 20.0
    size: tuple[int, int] = (320, 240)
    face: str = "astronaut"
    strength: float = 0.01
    ratios: tuple[float, float, float] = RATIOS
    noise: float = 2.0
    codec: str = "jpeg:90"
    drift: float = 0.03
    tint: float = 0.0
    flicker: tuple[float, float] = (0.0, 0.0)
    motion: float = 2.0
    jitter: float = 5.0
    closed: tuple[tuple[float, float], ...] = ()
    seed: int = 1


def video(case: Case, first_ms: int = 1_700_000_000_000) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(timestamp in ms, RGB uint8 (height, width, 3)) for each frame."""
    random = np.random.default_rng(case.seed)
    width, height = case.size
    scene = _scene(case.face, case.size)
    noise = random.normal(0.0, case.noise, (height * 3 + 4096) * width).astype(np.float32) if case.noise else None
    phases = random.uniform(0, 2 * np.pi, 8)
    count = round(case.seconds * case.fps)
    # A camera's timer has an error for each frame, which does not add up.
    times = np.arange(count) / case.fps + np.clip(
        random.normal(0, case.jitter / 1000, count), -0.45 / case.fps, 0.45 / case.fps
    )
    phase, before = float(phases[0]), 0.0
    for moment in times:
        rate = case.bpm(float(moment)) if callable(case.bpm) else case.bpm
        phase += 2 * np.pi * rate / 60 * (moment - before)
        before = float(moment)
        beat = case.strength * _beat(phase)
        frame = _render(case, scene, float(moment), beat, phases)
        if noise is not None:
            at = int(random.integers(0, 4096 * width - 1)) if width else 0
            frame = frame + noise[at : at + height * width * 3].reshape(height, width, 3)
        yield first_ms + round(moment * 1000), _encode(np.clip(np.rint(frame), 0, 255).astype(np.uint8), case.codec)


def _beat(phase: float) -> float:
    """A pulse wave of amplitude about 1: its second harmonic makes the upstroke steeper than the way back."""
    return float((np.sin(phase) + 0.3 * np.sin(2 * phase - 0.8)) / 1.15)


@dataclass(frozen=True)
class Scene:
    """`open` and `shut`: the picture with open and closed eyes, float32 RGB; `skin`: 0..1, where blood colours it."""

    open: Floats
    shut: Floats
    skin: Floats


def _render(case: Case, scene: Scene, moment: float, beat: float, phases: NDArray[Any]) -> Floats:
    shut = any(start <= moment < start + length for start, length in case.closed)
    picture = scene.shut if shut else scene.open
    unit = case.motion * case.size[0] / 320
    sway = np.sin(2 * np.pi * np.array([0.11, 0.23, 0.17, 0.31, 0.13]) * moment + phases[1:6])
    angle, zoom = 0.4 * case.motion * sway[2], 1 + 0.002 * case.motion * sway[3]
    matrix = cv2.getRotationMatrix2D((case.size[0] / 2, case.size[1] / 2), angle, zoom)
    matrix[:, 2] += unit * (sway[0] + 0.4 * sway[3]), unit * (0.6 * sway[1] + 0.3 * sway[4])
    gain = 1 + beat * np.asarray(case.ratios, np.float32) / case.ratios[1] * scene.skin[..., np.newaxis]
    frame = picture * gain
    if case.motion:
        frame = cv2.warpAffine(frame, matrix, case.size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    light = (
        1
        + case.drift * np.sin(2 * np.pi * 0.05 * moment + phases[6])
        + case.flicker[0] * np.sin(2 * np.pi * case.flicker[1] * moment)
    )
    colour = 1 + case.tint * np.sin(2 * np.pi * 0.04 * moment + phases[7]) * np.array([1.0, 0.0, -1.0])
    result: Floats = (frame * (light * colour).astype(np.float32)).astype(np.float32)
    return result


def _encode(frame: NDArray[np.uint8], codec: str) -> NDArray[np.uint8]:
    if not codec:
        return frame
    kind, _, quality = codec.partition(":")
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)] if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(f".{kind}", frame[..., ::-1], options)
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])


@functools.lru_cache(maxsize=16)
def _scene(face: str, size: tuple[int, int]) -> Scene:
    if face == "none":
        return _room(size)
    return _astronaut(size) if face == "astronaut" else drawn(face, size)


def _astronaut(size: tuple[int, int]) -> Scene:
    """The photograph, cut to the proportions of `size` around the face."""
    from skimage import data

    photograph = data.astronaut()
    width, height = size
    tall = min(430, int(430 * height / width))
    wide = int(tall * width / height)
    left, top = max(0, 223 - wide // 2), 0
    part = photograph[top : top + tall, left : left + wide]
    picture = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    # Skin by its colour, kept to the head: the face's box in the photograph is x 177..274, y 66..163.
    luma, red, blue = cv2.split(cv2.cvtColor(part, cv2.COLOR_RGB2YCrCb))
    skin = ((luma > 60) & (red > 136) & (red < 175) & (blue > 85) & (blue < 130)).astype(np.float32)
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
    skin *= (((columns - (225 - left)) / 58) ** 2 + ((rows - 115) / 75) ** 2) < 1
    skin = cv2.resize(cv2.GaussianBlur(skin, (0, 0), 1.5), size, interpolation=cv2.INTER_AREA)
    return Scene(picture, picture, skin)


def drawn(skin: str, size: tuple[int, int]) -> Scene:
    """A drawn head and shoulders before a wall; `skin` is a key of SKINS. The head is 45 % of the picture's height."""
    width, height = size
    scale = 4 * height / 480  # drawn large and reduced, so that edges fall between pixels as in a photograph
    canvas = (round(width * 4), round(height * 4))
    wall = np.full((canvas[1], canvas[0], 3), (150, 158, 150), np.float32)
    wall *= np.linspace(0.8, 1.15, canvas[0], dtype=np.float32)[np.newaxis, :, np.newaxis]
    tone = np.array(SKINS[skin], np.float32)
    x, y = canvas[0] // 2, canvas[1] // 2

    def oval(
        picture: Floats,
        across: float,
        down: float,
        wide: float,
        tall: float,
        colour: Any,
        start: int = 0,
        stop: int = 360,
    ) -> None:
        centre = (round(x + across * scale), round(y + down * scale))
        colour = tuple(float(value) for value in np.broadcast_to(np.asarray(colour, np.float32), 3))
        cv2.ellipse(
            picture, centre, (round(wide * scale), round(tall * scale)), 0, start, stop, colour, -1, cv2.LINE_AA
        )

    def paint(shut: bool) -> Floats:
        picture = wall.copy()
        oval(picture, 0, 260, 190, 130, (70, 80, 110))  # shoulders
        oval(picture, 0, 100, 45, 75, tone * 0.75)  # neck
        oval(picture, 0, -30, 98, 118, (45, 35, 30))  # hair
        oval(picture, 0, 5, 82, 108, tone)
        rows, columns = np.mgrid[: canvas[1], : canvas[0]].astype(np.float32)
        round_head = 1 - 0.35 * np.clip(
            ((columns - x + 15 * scale) / (90 * scale)) ** 2 + ((rows - y) / (125 * scale)) ** 2, 0, 1
        )
        picture *= round_head[..., np.newaxis]
        for side in (-1, 1):
            oval(picture, side * 34, -18, 25, 17, tone * 0.72)  # the socket's shadow
            if shut:
                oval(picture, side * 34, -12, 19, 8, tone * 0.78)
                oval(picture, side * 34, -8, 18, 3, (50, 35, 30))
            else:
                oval(picture, side * 34, -14, 19, 9, (225, 220, 215))
                oval(picture, side * 34, -14, 9, 9, (60, 42, 32))
                oval(picture, side * 34, -14, 4, 4, (12, 10, 10))
                oval(picture, side * 34, -20, 21, 5, (45, 32, 28), 180, 360)
            oval(picture, side * 34, -38, 26, 6, (45, 33, 28))
            oval(picture, side * 9, 36, 6, 4, tone * 0.5)  # nostrils
            oval(picture, side * 13, 28, 7, 12, tone * 0.8)
        oval(picture, 0, 10, 9, 28, tone * 1.04)  # the nose's bridge
        oval(picture, 0, 66, 30, 9, (150, 75, 75))
        oval(picture, 0, 65, 30, 2, (90, 40, 40))
        picture = cv2.GaussianBlur(picture, (0, 0), 1.6 * scale)
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    mask = np.zeros((canvas[1], canvas[0], 3), np.float32)
    oval(mask, 0, 100, 45, 75, 1)
    oval(mask, 0, 5, 82, 108, 1)
    for side in (-1, 1):
        oval(mask, side * 34, -14, 19, 9, 0)
    mask = cv2.resize(cv2.GaussianBlur(mask, (0, 0), 1.6 * scale), size, interpolation=cv2.INTER_AREA)
    return Scene(paint(False), paint(True), np.ascontiguousarray(mask[..., 0]))


def _room(size: tuple[int, int]) -> Scene:
    """Shelves and a window: edges and colours, no face. All of it takes the pulse's colour, which must not help."""
    width, height = size
    random = np.random.default_rng(7)
    picture = np.full((height, width, 3), (170, 150, 130), np.float32)
    for _ in range(30):
        left, top = int(random.integers(0, width)), int(random.integers(0, height))
        corner = (left + int(random.integers(4, width // 4)), top + int(random.integers(4, height // 4)))
        cv2.rectangle(picture, (left, top), corner, tuple(float(value) for value in random.integers(20, 240, 3)), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
    return Scene(picture, picture, np.ones((height, width), np.float32))
