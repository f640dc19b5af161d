"""Where a camera's frames come from: picture files, a video, a webcam, a network camera.

Each frame is the bytes of a picture file.
"""

from __future__ import annotations

import os
import re
import threading
import urllib.parse
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from imageserver_client.errors import SourceError

JPEG_QUALITY = 90
SCHEMES = ("rtsp", "rtsps", "http", "https")
"""Of network cameras."""
NETWORK_PATIENCE = 10.0
"""Seconds in which a camera must answer, and then send each frame."""
_MAGIC = (
    re.compile(rb"\xff\xd8\xff"),
    re.compile(rb"\x89PNG\r\n\x1a\n"),
    re.compile(rb"BM....\0\0\0\0", re.DOTALL),
    re.compile(rb"II\*\0|MM\0\*"),
    re.compile(rb"RIFF....WEBP", re.DOTALL),
)


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
    """The source that the words on a command line mean.

    Args:
        words: a webcam's number, a network camera's URL, a video, a folder, or pictures.
        repeat: begin again at the end.
        note: hears of files that are passed over.

    Raises:
        SourceError: the source is not there or has no frames.
    """
    if len(words) == 1 and re.fullmatch("[0-9]{1,3}", words[0]) and not Path(words[0]).exists():
        return Live(open_webcam(int(words[0])), f"webcam {words[0]}")
    if len(words) == 1 and "://" in words[0]:
        return open_url(words[0], repeat)
    paths = [Path(word) for word in words]
    for word, path in zip(words, paths, strict=True):
        if "://" in word:
            raise SourceError(f"{without_password(word)} must be the only source.")
        if not path.exists():
            raise SourceError(f"There is no file or folder {path}.")
    if len(paths) == 1 and paths[0].is_file() and not is_picture(paths[0]):
        return Video(str(paths[0]), paths[0].name, repeat)
    files = [file for path in paths for file in _pictures_of(path, note)]
    if not files:
        raise SourceError(f"There are no pictures in {', '.join(words)}.")
    return Pictures(files, repeat)


def _pictures_of(path: Path, note: Callable[[str], None]) -> list[Path]:
    """A picture, or those of a folder in natural order."""
    if not path.is_dir():
        if not is_picture(path):
            raise SourceError(f"{path} is no JPEG, PNG, BMP, TIFF or WebP picture; a video must be the only source.")
        return [path]
    inside = sorted((file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")), key=natural)
    pictures = [file for file in inside if is_picture(file)]
    if passed := [file.name for file in inside if file not in pictures]:
        more = " …" if len(passed) > 5 else ""
        note(f"Passed over in {path}, since no pictures: {', '.join(passed[:5])}{more}")
    return pictures


def opencv() -> Any:
    """OpenCV, told to keep its own warnings and FFmpeg's to itself: what people need to know is in our sentences."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    return cv2


def open_capture(source: str | int) -> Any:
    """OpenCV's capture of a webcam by its number, a file or a URL; it may not have opened."""
    cv2 = opencv()
    if isinstance(source, int) or "://" not in source:
        return cv2.VideoCapture(source)
    patience = int(NETWORK_PATIENCE * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience]
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)


def open_webcam(index: int) -> Any:
    """The capture of a camera of this machine. SourceError."""
    capture = open_capture(index)
    if not capture.isOpened():
        raise SourceError(f"There is no webcam {index} here, or it is in use, or this user may not open it.")
    return capture


def open_url(url: str, repeat: bool) -> Source:
    """A network camera, or a video behind an address. SourceError within `NETWORK_PATIENCE` when it does not answer."""
    name = without_password(url)
    if urllib.parse.urlsplit(url).scheme.lower() not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES[:-1])
        raise SourceError(f"{name} is no source: give {known} or {SCHEMES[-1]}:// for a network camera.")
    capture = open_capture(url)
    if not capture.isOpened():
        raise SourceError(
            f"The camera {name} does not answer, or sends nothing that OpenCV can read: "
            "check the address, and its name and password."
        )
    if capture.get(opencv().CAP_PROP_FRAME_COUNT) > 0:  # a file, which would come as fast as the network carries it
        capture.release()
        return Video(url, name.rpartition("/")[2] or name, repeat)
    return Live(capture, name)


def without_password(url: str) -> str:
    """A URL as it may be shown: some cameras want their password in the query."""
    return re.sub("(?<=://).*@", "", url).partition("?")[0]


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
    """A video at its own pace: the frame that shows at the moment asked for, as JPEG.

    Args:
        source: its path or URL.
        name: what to call it.
        repeat: begin again at the end.

    Raises:
        SourceError: OpenCV cannot read it.
    """

    def __init__(self, source: str, name: str, repeat: bool) -> None:
        self._source, self._name, self._repeat = source, name, repeat
        self._capture: Any = None
        self._rate, self._read, self._began = 25.0, 0, 0.0
        self._open()

    def _open(self) -> None:
        self._capture = open_capture(self._source)
        if not self._capture.isOpened():
            name = without_password(self._source)
            raise SourceError(f"{name} is neither a picture nor a video that OpenCV can read.")
        rate = self._capture.get(opencv().CAP_PROP_FPS)
        self._rate = rate if 0.1 <= rate <= 1000 else 25.0
        self._read = 0

    def next(self, seconds: float) -> Frame | None:
        wanted = int((seconds - self._began) * self._rate) + 1
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
        return Frame(encode(picture), f"{self._name} {self._read}") if good else None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()


class Live:
    """A camera: its newest frame, as JPEG. A thread keeps reading, so no old frame waits in a buffer.

    Args:
        capture: OpenCV's capture of it, open.
        name: what to call it.
    """

    def __init__(self, capture: Any, name: str) -> None:
        self._capture, self._name, self._count = capture, name, 0
        self._newest: deque[Any] = deque(maxlen=1)
        self._arrived = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended:
            good, picture = self._capture.read()
            if good:
                self._newest.append(picture)
            else:
                self._ended = True
            self._arrived.set()

    def next(self, seconds: float) -> Frame | None:
        while not self._ended and self._arrived.wait(NETWORK_PATIENCE):
            self._arrived.clear()
            if self._newest:
                self._count += 1
                return Frame(encode(self._newest.pop()), f"{self._name}, {self._count}")
        if self._count == 0 or not self._ended:
            raise SourceError(f"No picture comes from {self._name}: is something else using it?")
        return None

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended = True
        self._thread.join(NETWORK_PATIENCE + 1)
        if not self._thread.is_alive():  # OpenCV crashes when a capture goes away under a read
            self._capture.release()


def encode(picture: Any) -> bytes:
    """Pixels as OpenCV has them (height, width, 3; BGR uint8) as a JPEG file."""
    cv2 = opencv()
    good, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not good:
        raise SourceError("OpenCV could not encode a frame as JPEG.")
    return bytes(data)
