"""The process that draws for viewers what models found, beside the workers: started with `--control FD --arena FD`.

It has one picture at a time, within the bounds of the process for costly pictures (costly.py), and is as nice: what
viewers look at takes no camera's turn, and a picture that ends it costs nobody else anything. The picture lies in the
only slot; the JPEG comes back there.
"""

from __future__ import annotations

import cv2

from imageserver.errors import LimitExceeded, PictureError
from imageserver.inference.shared import drawing, image_header, wire
from imageserver.inference.worker import costly
from imageserver.inference.worker.decode import PictureLimits, decode

LARGEST = 1280
"""Pixels of the longer side of what is drawn."""
QUALITY = 80
"""Of the JPEG."""


def drawn(message: wire.Message, arena: memoryview, limits: PictureLimits) -> wire.Message:
    """The size of the JPEG, or what is wrong with the picture."""
    try:
        jpeg = draw(arena[: message["size"]], message["rotate"], message["prediction"], limits)
    except (LimitExceeded, PictureError) as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "decoding the picture takes too much memory"}
    arena[: len(jpeg)] = jpeg
    return {"size": len(jpeg)}


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
    costly.run("drawn", drawn)
