"""Training data for digits from a folder of labelled pictures: files named `7_81491.jpg`, the digit first.

`python3 src/training_set.py FOLDER` shows what would become of a folder, and writes it as an .npz like MNIST's.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imageserver.errors import ImageServerError, TrainingError
from imageserver.inference.worker import decode
from imageserver.inference.worker.decode import PictureLimits
from imageserver.inference.worker.preprocessing.digit import PREPROCESSING, SIDE, digit
from imageserver.training.lenet.data import Data

LEAST_OF_EACH = 10
"""Pictures of each digit below which a folder is not used: a network that never sees a 4 takes it for a 9."""

MOST = 200_000
"""Files that are looked at."""

HELD_OUT = 5
"""Every fifth picture of a digit is held out, chosen by content, so the same folder is always divided alike."""

_NAME = re.compile(r"[0-9]_")
_TYPES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Found:
    """`skipped`: the name of each file that is not used, and why."""

    data: Data
    skipped: list[tuple[str, str]]


def read(folder: Path, limits: PictureLimits | None = None) -> Found:
    """Every usable picture in `folder` and the folders below it, preprocessed as those that are served.

    TrainingError when there are too few, or the folder cannot be read.
    """
    limits = limits or PictureLimits()
    skipped: list[tuple[str, str]] = []
    known: dict[bytes, tuple[int, str]] = {}
    pictures: dict[bytes, np.ndarray] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if not _NAME.match(path.name):
            skipped.append((name, "its name does not begin with the digit and an underscore, such as 7_81491.jpg"))
        elif path.suffix.lower() not in _TYPES:
            skipped.append((name, f"it is not one of {', '.join(_TYPES)}"))
        else:
            picture, reason = _picture(path, limits)
            if picture is None:
                skipped.append((name, reason))
                continue
            label, content = int(path.name[0]), hashlib.sha256(picture.tobytes()).digest()
            before = known.setdefault(content, (label, name))
            if before[1] == name:
                pictures[content] = picture
            elif before[0] == label:
                skipped.append((name, f"it is the same picture as {before[1]}"))
            else:
                skipped.append((name, f"it is the same picture as {before[1]}, under another digit"))
    return Found(
        _divide(pictures, {content: label for content, (label, _name) in known.items()}, len(skipped)), skipped
    )


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise TrainingError("the folder of labelled pictures named by --training-data is not there")
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) > MOST:
            raise TrainingError(f"the folder of labelled pictures holds over {MOST} files: divide it")
    return found


def _picture(path: Path, limits: PictureLimits) -> tuple[np.ndarray | None, str]:
    """The picture as uint8 (28, 28), light on dark; or None and why not."""
    try:
        if path.stat().st_size > limits.max_bytes:
            return None, f"it is larger than {limits.max_bytes} bytes"
        picture = decode.decode(path.read_bytes(), channels=1, least=PREPROCESSING.least, limits=limits)
    except OSError as error:
        return None, f"it cannot be read: {error.strerror}"
    except ImageServerError as error:
        return None, str(error)
    if min(picture.size) < SIDE:
        return None, f"it is {picture.size[0]}x{picture.size[1]} pixels; at least {SIDE}x{SIDE} are needed"
    made = digit(picture.pixels)
    return (made, "") if made.any() else (None, "there is nothing drawn on it")


def _divide(pictures: dict[bytes, np.ndarray], labels: dict[bytes, int], skipped: int) -> Data:
    """Learn from four fifths of each digit, hold out one. TrainingError when there are too few of any."""
    by_digit = [sorted(content for content in pictures if labels[content] == number) for number in range(10)]
    few = [str(number) for number, found in enumerate(by_digit) if len(found) < LEAST_OF_EACH]
    if few:
        raise TrainingError(
            f"there are too few pictures of {', '.join(few)}: at least {LEAST_OF_EACH} of each digit are needed "
            f"({len(pictures)} files can be used, {skipped} cannot)"
        )
    held = {content for found in by_digit for content in found[::HELD_OUT]}
    learnt = [content for content in sorted(pictures) if content not in held]
    tested = sorted(held)
    return Data(
        np.stack([pictures[content] for content in learnt]),
        np.array([labels[content] for content in learnt], np.int64),
        np.stack([pictures[content] for content in tested]),
        np.array([labels[content] for content in tested], np.int64),
    )
