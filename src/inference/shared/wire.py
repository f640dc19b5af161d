"""The messages across the process wall, and the shared memory they speak of. Pure: bytes in, messages out.

A worker has one Unix stream socket to the server and one memfd, its *arena*, of `SLOTS` slots of `SLOT_BYTES`.
The server packs the pictures of a batch one behind the other into a free slot and sends one small message, so
whatever waits goes over in one wake-up and no picture passes through the kernel. The slot belongs to the worker
until its answer; a tensor too large for JSON comes back in the same slot. Untouched pages cost nothing.

A message is a 4-byte little-endian length and a JSON object of that length, `op` first:

server to worker
    {"op": "load", "model": str, "folder": str}
    {"op": "unload", "model": str}
    {"op": "run", "id": int, "model": str, "slot": int, "items": [Item, …]}
    {"op": "waiting", "seconds": float}   to a worker of replicas: for how long the oldest picture has waited
    {"op": "leave", "replicas": int}  to a worker of replicas: how many fewer it keeps, at least one, for a newer
                                      version that finds no room; 0: none fewer any longer
    {"op": "stop"}                    finish what runs, answer it, end

server to the process that decodes costly pictures (inference/worker/costly.py), which has one slot
    {"op": "decode", "id": int, "size": int, "form": str, "rotate": int, "channels": int, "least": int}

server to the process that draws for viewers (inference/worker/drawer.py), which has one slot
    {"op": "draw", "id": int, "size": int, "rotate": int, "prediction": {…}}

server to a session worker (inference/worker/sessions.py), which has one stateful model and a slot for each lane
    {"op": "start", "id": int, "lane": int, "sid": str, "timestamp": int}
    {"op": "frame", "id": int, "lane": int, "sid": str, "timestamp": int, "size": int, "rotate": int}
    {"op": "end", "id": int, "lane": int, "sid": str, "timestamp": int}

worker to server
    {"op": "hello", "pid": int}       it reads the socket from now on
    {"op": "loaded", "model": str, "runtime": str, "seconds": float, "warnings": [str, …], "decoded_as": [int, int]}
                                      the last: channels and shortest side that its pictures are decoded to
    {"op": "failed", "model": str, "error": str}           one sentence; the former version, if any, still serves
    {"op": "done", "id": int, "results": [Result, …]}      one for each item, in their order
        "aside": [[index, cost], …]   if there: items that were not decoded, since they cost more than a batch may
        "costs": [[index, cost], …]   if there: items whose decoding cost NOTABLE_COST and more
        "limits": [[index, name], …]  if there: settings that items ran into
        "lost": str                   if there: none was answered, as if the worker had died; "results" is empty
        "ended": true                 beside that: a replica ended while it ran these
    {"op": "unreachable", "model": str, "error": str}      it runs elsewhere, and nobody answers there; "loaded" follows
                                      once somebody does
    {"op": "endpoints", "model": str, "endpoints": [[str, bool, int, int], …], "retried": int}
                                      where it runs elsewhere: address, whether it is asked, batches that it answered
                                      and that failed there; and the batches that were sent a second time
    {"op": "cluster", "model": str, "places": int, "batches": int, "states": {str: int}, "answered": int, "lost": int,
     "ended": int}                    of a worker of replicas: batches that run at once, and that it takes; replicas by
                                      states; batches so far, and replicas that ended without being told to
    {"op": "decoded", "id": int, "form": str, "size": int, "cost": int}
                                      the pixels, from the slot's first byte on, and what they cost (of an inference
                                      request the same one, its tensor binary); or
    {"op": "decoded", "id": int, "error": str, "reason": "picture" | "body", "limit": str}
    {"op": "drawn", "id": int, "size": int}                 the JPEG, from the slot's first byte on; or
    {"op": "drawn", "id": int, "error": str}
    {"op": "made", "lane": int}       a further lane has its model object; the first has it with "loaded"
    {"op": "outcome", "id": int, "output": {…} or null}     what the stateful model returned
    {"op": "outcome", "id": int, "error": str}              one sentence: it raised, or the picture is none

Item:   {"at": int, "size": int, "form": str, "rotate": int}
        `at` and `size` in bytes within the slot; `form` says what the bytes are (CONTENT_…); `rotate` in degrees
        clockwise.
        Bodies of requests cross the wall as they came: what is in them is found out where it holds up nobody else.
Result: {"error": str, "reason": "picture" | "body" | "model" | "busy"}   or what the model found:
        {"size": [width, height], "label": str, "score": float, "labels": [{"label": str, "score": float}, …],
         "boxes": [{"x", "y", "width", "height": int, "label": str, "score": float,
           "keypoints": [[x, y, score], …]}, …],
         "embedding": [float, …], "values": {label: float}, "input": "unlike"}   (keys as the kind has them)
        `size` and boxes in pixels of the picture when upright.
        For CONTENT_INFERENCE: {"answer": {"at": int, "size": int, "head": int}}, where a finished answer lies in the
        slot, and how many of its bytes are JSON before binary tensors follow (0: all). The server puts it into `body`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NotRequired, TypedDict

SLOTS = 2
SLOT_BYTES = 32 * 2**20
"""Bytes of a slot; also the largest batch. A single picture is limited to 16 MiB by default and to this at most."""

MAX_MESSAGE = 64 * 2**20

NOTABLE_COST = 2**20
"""Bytes of a decoded picture from which on the server is told of them: a frame of a phone has less."""

JSON_COST = 4
"""What a byte of an inference request's JSON costs, as bytes of pictures do: half a second for 16 MB of numbers."""
COSTLY_JSON = 2**22
"""Bytes of it from which on it is costly: a tenth of a second. A picture of 224 pixels a side as numbers has 3 MB."""

CONTENT_IMAGE = "image"
"""The bytes of a JPEG, PNG, BMP, TIFF or WebP file."""

CONTENT_JSON = "json"
"""A JSON object whose `image` is such a file in base64."""

CONTENT_MULTIPART = "multipart"
"""A multipart form (RFC 7578) with such a file; `multipart;<boundary>`."""

CONTENT_INFERENCE = "inference"
"""A request of the Open Inference Protocol; `inference;<bytes of JSON>`, 0: all of it is JSON, else tensors follow."""

CONTENT_PIXELS = "pixels"
"""A decoded picture, as numpy has it: `pixels;<height>,<width>[,3];<undiminished width>,<height>`.

Then, where the pixels do not show just that, `;<x>,<y>,<width>,<height>` of what they do (worker/decode.py).
"""

_LENGTH = struct.Struct("<I")
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

Message = dict[str, Any]

Part = tuple[int, int, int, int]
"""A rectangle of a picture: x, y, width, height in its pixels."""

Picture = bytes | bytearray | memoryview
"""The bytes of a picture file, or of a request's body."""


class Item(TypedDict):
    """One picture of a batch."""

    at: int
    size: int
    form: str
    rotate: int


class Label(TypedDict):
    label: str
    score: float


class Box(TypedDict):
    """A detection, in pixels of the upright picture, origin at the top left."""

    x: int
    y: int
    width: int
    height: int
    label: str
    score: float
    keypoints: NotRequired[list[list[float]]]


class AnswerLocation(TypedDict):
    """Where a finished answer lies in the slot, and how much of it is JSON (0: all)."""

    at: int
    size: int
    head: int


class Result(TypedDict):
    """What became of one item; either `error` and `reason`, or what the model found."""

    error: NotRequired[str]
    reason: NotRequired[str]
    size: NotRequired[list[int]]
    label: NotRequired[str]
    score: NotRequired[float]
    labels: NotRequired[list[Label]]
    boxes: NotRequired[list[Box]]
    embedding: NotRequired[list[float]]
    values: NotRequired[dict[str, float]]
    input: NotRequired[str]
    """"unlike" where the picture is unlike those that the model was trained on; else it is not there."""
    camera: NotRequired[str]
    """The name that the request said, where it said one: not of the worker's."""
    answer: NotRequired[AnswerLocation]
    body: NotRequired[bytes]


def pixels_form(shape: Sequence[int], size: tuple[int, int], part: Part | None = None) -> str:
    """The content CONTENT_PIXELS of a picture of this shape.

    Args:
        shape: of its array.
        size: width and height that it has undiminished, upright.
        part: what of that the pixels show; None: all.
    """
    lists = (shape, size) if part is None else (shape, size, part)
    return ";".join((CONTENT_PIXELS, *(",".join(map(str, each)) for each in lists)))


def pixels_of(form: str) -> tuple[list[int], tuple[int, int], Part | None]:
    """The same backwards."""
    shape, (width, height), *parts = ([int(side) for side in each.split(",")] for each in form.split(";")[1:])
    if not parts:
        return shape, (width, height), None
    [(x, y, across, down)] = parts
    return shape, (width, height), (x, y, across, down)


def pack(message: Message) -> bytes:
    """One message as bytes for the socket. ValueError when it is larger than MAX_MESSAGE."""
    body = _encode(message).encode()
    if len(body) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(body)} bytes exceeds {MAX_MESSAGE}")
    return _LENGTH.pack(len(body)) + body


def _decoded(body: bytearray) -> Message:
    try:
        message: Message = json.loads(body)
    except RecursionError:
        raise ValueError("a message is nested too deeply") from None
    return message


class Unpacker:
    """Bytes from the socket, in pieces of any length, to messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[Message]:
        """Yield the messages that `data` completes. ValueError on a length over MAX_MESSAGE or on bad JSON."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_MESSAGE:
                raise ValueError(f"a message of {length} bytes exceeds {MAX_MESSAGE}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            message = _decoded(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield message


def json_size(form: str, size: int) -> int:
    """Bytes of JSON in the body of an inference request of `size` bytes; 0 of what is none."""
    content, _, head = form.partition(";")
    return (int(head or 0) or size) if content == CONTENT_INFERENCE else 0
