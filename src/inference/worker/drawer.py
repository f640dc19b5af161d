"""The process that draws for viewers what models found, beside the workers: started with `--control FD --arena FD`.

It has one picture at a time, within the bounds of the process for costly pictures (costly.py), and is as nice: what
viewers look at takes no camera's turn, and a picture that ends it costs nobody else anything. The picture lies in the
only slot; the JPEG comes back there.
"""

from __future__ import annotations

import contextlib
import os
import socket

import cv2

from imageserver.errors import LimitExceeded, PictureError
from imageserver.inference.shared import drawing, image_header, wire
from imageserver.inference.worker import costly
from imageserver.inference.worker.decode import PictureLimits, decode

LARGEST = 1280
"""Pixels of the longer side of what is drawn."""
QUALITY = 80
"""Of the JPEG."""


class Drawer:
    """`serve` returns when it is told to stop, or when the server is gone."""

    def __init__(self, control: socket.socket, arena: memoryview, limits: PictureLimits, seconds: float) -> None:
        self._control, self._arena, self._limits, self._seconds = control, arena, limits, seconds

    def serve(self) -> None:
        self._send({"op": "hello", "pid": os.getpid()})
        unpacker = wire.Unpacker()
        while data := self._control.recv(65536):
            for message in unpacker.feed(data):
                if message["op"] == "stop":
                    return
                costly.limit_processor_time(self._seconds)
                self._send({"op": "drawn", "id": message["id"], **self._draw(message)})

    def _draw(self, message: wire.Message) -> wire.Message:
        """The size of the JPEG, or what is wrong with the picture."""
        try:
            jpeg = draw(self._arena[: message["size"]], message["rotate"], message["prediction"], self._limits)
        except (LimitExceeded, PictureError) as error:
            return {"error": str(error)}
        except MemoryError:
            return {"error": "decoding the picture takes too much memory"}
        self._arena[: len(jpeg)] = jpeg
        return {"size": len(jpeg)}

    def _send(self, message: wire.Message) -> None:
        self._control.sendall(wire.pack(message))


def draw(data: memoryview, rotate: int, prediction: wire.Message, limits: PictureLimits) -> bytes:
    """A JPEG of the picture, upright, with what was found drawn into it. PictureError, LimitExceeded."""
    header = image_header.read(data)
    longer, shorter = max(header.width, header.height), min(header.width, header.height)
    least = shorter if longer <= LARGEST else -(-shorter * LARGEST // longer)
    picture = decode(data, channels=3, least=least, rotate=rotate, limits=limits)
    image = drawing.fit(cv2, cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2BGR), LARGEST)
    drawing.mark(cv2, image, prediction, picture.size[0])
    _done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg.tobytes()


def main() -> None:
    with contextlib.suppress(OSError):  # the server is gone: nobody is left to be told
        Drawer(*costly.begin()).serve()
    costly.end()
