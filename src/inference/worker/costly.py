"""The process that decodes costly pictures, beside the workers: started with `--control FD --arena FD`.

It decodes one picture at a time and runs no model, so that its end loses nothing else: not of the processor time that
a picture may take (SIGXCPU), not of memory, not of a fault in a decoder. It is nicer than the workers (nice(2)).

A picture lies in the only slot; its pixels come back there, upright and reduced to what the model needs. So does an
inference request of much JSON: what comes back is the request as it would be with a binary tensor.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator

from imageserver.errors import BodyError, LimitExceeded, PictureError
from imageserver.inference.shared import request_bodies, wire
from imageserver.inference.shared.request_bodies import MAX_JSON_BESIDE, parse_json
from imageserver.inference.worker import main as worker
from imageserver.inference.worker import tensors
from imageserver.inference.worker.decode import PictureLimits, decode, shrink
from imageserver.jail import entry

NICENESS = 10
MOST_PIXELS = 8 * 2**20
"""Bytes of pixels that are handed back: far more than the models' inputs have, and soon copied."""
COPIES = 3
"""Of the largest picture, decoded, that the process has room for: decoded, flattened, turned."""
SPARE_MEMORY = 256 * 2**20


Work = Callable[[wire.Message, memoryview, PictureLimits], wire.Message]
"""Takes a message about the picture that lies in the memory, puts there what it makes of it, and returns the answer."""


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


def run(op: str, work: Work) -> None:
    """The life of every process that is given one costly picture after the other, within its jail and its bounds.

    It ends when it is told to stop, or when the server is gone.

    Args:
        op: what its answers are called.
        work: done on each picture.
    """
    with contextlib.suppress(OSError):  # the server is gone: nobody is left to be told
        control, arena, limits, seconds = _begin()
        control.sendall(wire.pack({"op": "hello", "pid": os.getpid()}))
        for message in _messages(control):
            limit_processor_time(seconds)
            control.sendall(wire.pack({"op": op, "id": message["id"], **work(message, arena, limits)}))
    sys.stderr.flush()
    os._exit(0)  # at once, whatever libraries still have to do


def _begin() -> tuple[socket.socket, memoryview, PictureLimits, float]:
    """The socket to the server, the shared memory, the limits of pictures, seconds of processor time for each."""
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


def _messages(control: socket.socket) -> Iterator[wire.Message]:
    """What the server says, until it says stop or is gone."""
    unpacker = wire.Unpacker()
    while data := control.recv(65536):
        for message in unpacker.feed(data):
            if message["op"] == "stop":
                return
            yield message


def decoded(message: wire.Message, arena: memoryview, limits: PictureLimits) -> wire.Message:
    """The pixels' form and size, or what is wrong with the picture; of an inference request the same."""
    try:
        return (_tensor if wire.json_size(message["form"], message["size"]) else _pixels)(message, arena, limits)
    except LimitExceeded as error:
        return {"error": str(error), "reason": "picture", "limit": error.limit}
    except BodyError as error:
        return {"error": str(error), "reason": "body", "limit": ""}
    except (PictureError, ValueError) as error:
        return {"error": str(error), "reason": "picture", "limit": ""}
    except MemoryError:
        return {"error": "decoding this takes too much memory: send it smaller", "reason": "picture", "limit": ""}


def _pixels(message: wire.Message, arena: memoryview, limits: PictureLimits) -> wire.Message:
    least = message["least"]
    data = request_bodies.picture(message["form"], arena[: message["size"]])
    rotate, channels = message["rotate"], message["channels"]
    picture = decode(data, channels=channels, least=least, rotate=rotate, limits=limits)
    picture = shrink(picture, least, MOST_PIXELS)
    pixels = picture.pixels
    arena[: pixels.nbytes] = pixels.reshape(-1).data
    form = wire.pixels_form(pixels.shape, picture.size, picture.part)
    return {"form": form, "size": pixels.nbytes, "cost": picture.cost}


def _tensor(message: wire.Message, arena: memoryview, _limits: PictureLimits) -> wire.Message:
    read = wire.json_size(message["form"], message["size"])
    data, head = condensed(arena[: message["size"]], read)
    arena[: len(data)] = data
    return {"form": f"{wire.CONTENT_INFERENCE};{head}", "size": len(data), "cost": read * wire.JSON_COST}


def condensed(data: memoryview, head: int) -> tuple[bytes, int]:
    """A request whose tensor is much JSON, as the same one with a binary tensor: its bytes, and those of its JSON.

    Args:
        data: The body.
        head: Bytes of JSON in it.

    Raises:
        BodyError: Something is wrong with the request, or what comes out of it has more bytes than a worker takes.
        PictureError: A picture in it is no base64.
    """
    if head < len(data):
        raise BodyError(f"before a binary tensor there may be {wire.COSTLY_JSON} bytes of JSON, not {head}")
    request = parse_json(data)
    given, _identity = tensors.read_input(request, None)
    if given.datatype == "BYTES":
        tensor = b"".join(tensors.ELEMENT.pack(len(element)) + element for element in tensors.elements(given))
    else:
        tensor = tensors.array(given).tobytes()
    del request["inputs"][0]["data"]
    request["inputs"][0].setdefault("parameters", {})["binary_data_size"] = len(tensor)
    try:
        found = tensors.encode(request).encode()
    except ValueError:
        raise BodyError("the body's JSON holds NaN, or half a character") from None
    if len(found) > MAX_JSON_BESIDE:
        raise BodyError(f"beside its data a request may have {MAX_JSON_BESIDE} bytes of JSON, not {len(found)}")
    if len(found) + len(tensor) > wire.SLOT_BYTES:
        raise BodyError(
            f"the tensor has {len(tensor)} bytes in binary; at most {wire.SLOT_BYTES} fit: send fewer pictures at once"
        )
    return found + tensor, len(found)


def main() -> None:
    run("decoded", decoded)
