"""The process that decodes costly pictures, beside the workers: started with `--control FD --arena FD`.

It decodes one picture at a time and runs no model, so that its end loses nothing else: not of the processor time that
a picture may take (SIGXCPU), not of memory, not of a fault in a decoder. It is nicer than the workers (nice(2)).

A picture lies in the only slot; its pixels come back there, upright and reduced to what the model needs.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import socket
import sys

from imageserver.errors import BodyError, LimitExceeded, PictureError
from imageserver.inference.shared import request_bodies, wire
from imageserver.inference.worker import main as worker
from imageserver.inference.worker.decode import PictureLimits, decode, shrink
from imageserver.jail import entry

NICENESS = 10
MOST_PIXELS = 8 * 2**20
"""Bytes of pixels that are handed back: far more than the models' inputs have, and soon copied."""
COPIES = 3
"""Of the largest picture, decoded, that the process has room for: decoded, flattened, turned."""
SPARE_MEMORY = 256 * 2**20


class CostlyDecoder:
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
                limit_processor_time(self._seconds)
                self._send({"op": "decoded", "id": message["id"], **self._decode(message)})

    def _decode(self, message: wire.Message) -> wire.Message:
        """The pixels' form and size, or what is wrong with the picture."""
        least = message["least"]
        try:
            data = request_bodies.picture(message["form"], self._arena[: message["size"]])
            rotate, channels = message["rotate"], message["channels"]
            picture = decode(data, channels=channels, least=least, rotate=rotate, limits=self._limits)
            picture = shrink(picture, least, MOST_PIXELS)
        except LimitExceeded as error:
            return {"error": str(error), "limit": error.limit}
        except (BodyError, PictureError, ValueError) as error:
            return {"error": str(error), "limit": ""}
        except MemoryError:
            return {"error": "decoding the picture takes too much memory: send it smaller", "limit": ""}
        pixels = picture.pixels
        self._arena[: pixels.nbytes] = pixels.reshape(-1).data
        return {"form": wire.pixels_form(pixels.shape, picture.size), "size": pixels.nbytes, "cost": picture.cost}

    def _send(self, message: wire.Message) -> None:
        self._control.sendall(wire.pack(message))


def limit_processor_time(seconds: float) -> None:
    """Have the kernel end this process (SIGXCPU) once it has taken so many more seconds of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def limit_memory(more: int) -> None:
    """Let this process have so many bytes more than it has now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def begin() -> tuple[socket.socket, memoryview, PictureLimits, float]:
    """What every process does that is given one costly picture after the other: it goes into its jail and its bounds.

    Returns:
        The socket to the server, the shared memory, the limits of pictures, and seconds of processor time for each.
    """
    worker.bind_life_to_parent()
    parser = worker.parser()
    parser.add_argument("--decode-time", type=float, required=True, help="processor time of a picture, in seconds")
    options = parser.parse_args()
    os.nice(NICENESS)
    entry.enter(options.jail)
    control, arena = worker.open_wall(options, wire.SLOT_BYTES)
    options.threads = 1
    worker.set_environment(options.threads, options.max_pixels)
    context = worker.make_context(options)
    limit_memory(COPIES * options.max_decoded_bytes + SPARE_MEMORY)
    return control, arena, context.limits, options.decode_time


def end() -> None:
    """End at once, whatever libraries still have to do."""
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    with contextlib.suppress(OSError):  # the server is gone: nobody is left to be told
        CostlyDecoder(*begin()).serve()
    end()
