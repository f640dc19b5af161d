"""Where a camera's frames come from: picture files, a video, a webcam. Each frame is the bytes of a picture file."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

JPEG_QUALITY = 90
_MAGIC = (
    re.compile(rb"\xff\xd8\xff"),
    re.compile(rb"\x89PNG\r\n\x1a\n"),
    re.compile(rb"BM....\0\0\0\0", re.DOTALL),
    re.compile(rb"II\*\0|MM\0\*"),
    re.compile(rb"RIFF....WEBP", re.DOTALL),
)


class SourceError(Exception):
    """A source that is not there or holds no frames; one sentence."""


class Frame(NamedTuple):
    """A picture file and what to call it."""

    data: bytes
    name: str


class Source(Protocol):
    """Something that has a frame for every moment; use as a context."""

    def next(self, seconds: float) -> Frame | None:
        """The frame for the moment `seconds` after the start; None at the end. Moments only grow."""

    def __enter__(self) -> Source: ...

    def __exit__(self, *exception: object) -> None: ...


def open_source(words: Sequence[str], repeat: bool, note: Callable[[str], None]) -> Source:
    """The source that the words on the command line mean: a webcam's number, a video, a folder, or pictures.

    `repeat`: begin again at the end. `note` hears of files that are passed over. SourceError.
    """
    if len(words) == 1 and re.fullmatch("[0-9]{1,3}", words[0]) and not Path(words[0]).exists():
        return Webcam(int(words[0]))
    paths = [Path(word) for word in words]
    for path in paths:
        if not path.exists():
            raise SourceError(f"There is no file or folder {path}.")
    if len(paths) == 1 and paths[0].is_file() and not is_picture(paths[0]):
        return Video(paths[0], repeat)
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                (file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")), key=natural
            )
            files += [file for file in inside if is_picture(file)]
            if passed := [file.name for file in inside if not is_picture(file)]:
                note(
                    f"Passed over in {path}, since no pictures: {', '.join(passed[:5])}{' …' if len(passed) > 5 else ''}"
                )
        elif is_picture(path):
            files.append(path)
        else:
            raise SourceError(f"{path} is no JPEG, PNG, BMP, TIFF or WebP picture; a video must be the only source.")
    if not files:
        raise SourceError(f"There are no pictures in {', '.join(words)}.")
    return Pictures(files, repeat)


def is_picture(path: Path) -> bool:
    """Whether a file begins like a picture that the server takes, whatever its name."""
    with path.open("rb") as file:
        start = file.read(16)
    return any(magic.match(start) for magic in _MAGIC)


def natural(path: Path) -> list[tuple[int, str]]:
    """A key to sort by so that `9.png` comes before `10.png`."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"([0-9]+)|([^0-9]+)", path.name)]


class Pictures:
    """Picture files in order, sent as they are."""

    def __init__(self, files: Sequence[Path], repeat: bool) -> None:
        self._files, self._repeat, self._next = list(files), repeat, 0

    def __len__(self) -> int:
        return len(self._files)

    def next(self, seconds: float) -> Frame | None:
        if self._next >= len(self._files) and not self._repeat:
            return None
        file = self._files[self._next % len(self._files)]
        self._next += 1
        try:
            return Frame(file.read_bytes(), file.name)
        except OSError as error:
            raise SourceError(f"{file} cannot be read ({error.strerror}).") from None

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


class Video:
    """A video at its own pace: the frame that shows at the moment asked for, as JPEG."""

    def __init__(self, path: Path, repeat: bool) -> None:
        self._path, self._repeat = path, repeat
        self._capture: Any = None
        self._rate, self._read, self._began = 25.0, 0, 0.0
        self._open()

    def _open(self) -> None:
        import cv2

        self._capture = cv2.VideoCapture(str(self._path))
        if not self._capture.isOpened():
            raise SourceError(f"{self._path} is neither a picture nor a video that OpenCV can read.")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 0.1 <= rate <= 1000 else 25.0
        self._read = 0

    def next(self, seconds: float) -> Frame | None:
        wanted = int((seconds - self._began) * self._rate) + 1
        picture = None
        while self._read < wanted:
            # Frames in between are skipped without being decoded to pixels.
            if not self._capture.grab():
                if not self._repeat or self._read == 0:
                    return None
                self._capture.release()
                self._open()
                self._began, wanted = seconds, 1
                continue
            self._read += 1
        good, picture = self._capture.retrieve()
        return Frame(encode(picture), f"{self._path.name} {self._read}") if good else None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()


class Webcam:
    """A camera of this machine: its newest frame, as JPEG. A thread keeps reading, so no old frame waits in a buffer."""

    def __init__(self, index: int) -> None:
        import cv2

        self._index, self._count = index, 0
        self._capture: Any = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise SourceError(f"There is no webcam {index} here, or it is in use, or this user may not open it.")
        self._newest: Any = None
        self._arrived = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended:
            good, picture = self._capture.read()
            if not good:
                self._ended = True
            else:
                self._newest = picture
            self._arrived.set()

    def next(self, seconds: float) -> Frame | None:
        if not self._arrived.wait(10) or self._newest is None:
            raise SourceError(f"The webcam {self._index} gives no picture.")
        self._count += 1
        return None if self._ended else Frame(encode(self._newest), f"webcam {self._index}, {self._count}")

    def __enter__(self) -> Webcam:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended = True
        self._thread.join(5)
        self._capture.release()


def encode(picture: Any) -> bytes:
    """Pixels as OpenCV has them (height, width, 3; BGR uint8) as a JPEG file."""
    import cv2

    good, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not good:
        raise SourceError("OpenCV could not encode a frame as JPEG.")
    return bytes(data)
