"""Training data for digits from a folder of labelled pictures: files named `7_81491.jpg`, the digit first.

`python3 src/training_set.py FOLDER` shows what would become of a folder, and writes it as an .npz like MNIST's.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imageserver import files
from imageserver.errors import ImageServerError, TrainingError
from imageserver.inference.worker import decode
from imageserver.inference.worker.decode import PictureLimits
from imageserver.inference.worker.preprocessing.digit import PREPROCESSING, SIDE, digit
from imageserver.training.lenet.data import MOST, Data

LEAST_OF_EACH = 10
"""Pictures of each digit below which a folder is not used: a network that never sees a 4 takes it for a 9."""

HELD_OUT = 5
"""Every fifth picture of a digit is held out, chosen by content, so the same folder is always divided alike."""

_NAME = re.compile(r"[0-9]_")
_TYPES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Found:
    """`skipped`: the name of each file that is not used, and why."""

    data: Data
    skipped: list[tuple[str, str]]


class _Labelled(NamedTuple):
    label: int
    name: str  # of the first file with this picture
    picture: np.ndarray


def read(folder: Path, limits: PictureLimits | None = None, most: int = MOST) -> Found:
    """Every usable picture in `folder` and the folders below it, preprocessed as those that are served.

    `most`: files and folders that are looked at.

    Raises:
        OSError: a folder cannot be read; the callers know what to advise.
        TrainingError: there are too few pictures, or too many files.
    """
    limits = limits or PictureLimits()
    skipped: list[tuple[str, str]] = []
    known: dict[bytes, _Labelled] = {}
    for path in _files(folder, most):
        name = path.relative_to(folder).as_posix()
        picture, reason = _picture(path, limits)
        if picture is not None:
            own = _Labelled(int(path.name[0]), name, picture)
            first = known.setdefault(hashlib.sha256(picture.tobytes()).digest(), own)
            if first is not own:
                reason = f"it is the same picture as {first.name}"
                reason += ", under another digit" if first.label != own.label else ""
        if reason:
            skipped.append((name, reason))
    return Found(_divide(known, len(skipped)), skipped)


def _files(folder: Path, most: int) -> list[Path]:
    found: list[Path] = []
    for count, (parent, folders, names) in enumerate(os.walk(folder, onerror=_raise), 1):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) > most or count > most:
            raise TrainingError(
                f"the folder of labelled pictures holds over {most} files or folders (--training-pictures): divide it"
            )
    return found


def _raise(error: OSError) -> None:
    raise error


def _picture(path: Path, limits: PictureLimits) -> tuple[np.ndarray | None, str]:
    """The picture as uint8 (28, 28), light on dark; or None and why not."""
    if not _NAME.match(path.name):
        return None, "its name does not begin with the digit and an underscore, such as 7_81491.jpg"
    if path.suffix.lower() not in _TYPES:
        return None, f"it is not one of {', '.join(_TYPES)}"
    try:
        picture = decode.decode(
            files.read(path, limits.max_bytes), channels=1, least=PREPROCESSING.least, limits=limits
        )
    except OSError as error:
        return None, f"it cannot be read: {error.strerror}"
    except ImageServerError as error:
        return None, str(error)
    if min(picture.size) < SIDE:
        return None, f"it is {picture.size[0]}x{picture.size[1]} pixels; at least {SIDE}x{SIDE} are needed"
    made = digit(picture.pixels)
    return (made, "") if made.any() else (None, "there is nothing drawn on it")


def _divide(known: dict[bytes, _Labelled], skipped: int) -> Data:
    """Learn from four fifths of each digit, hold out one. TrainingError when there are too few of any."""
    by_digit = [sorted(content for content in known if known[content].label == number) for number in range(10)]
    few = [str(number) for number, found in enumerate(by_digit) if len(found) < LEAST_OF_EACH]
    if few:
        raise TrainingError(
            f"there are too few pictures of {', '.join(few)}: at least {LEAST_OF_EACH} of each digit are needed "
            f"({len(known)} files can be used, {skipped} cannot)"
        )
    held_out = {content for found in by_digit for content in found[::HELD_OUT]}
    parts = []
    for contents in (sorted(known.keys() - held_out), sorted(held_out)):
        parts.append(np.stack([known[content].picture for content in contents]))
        parts.append(np.array([known[content].label for content in contents], np.int64))
    return Data(*parts)
