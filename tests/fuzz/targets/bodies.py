"""Bodies and queries of requests: pictures in JSON, forms and tensors, and the settings that views read."""

from __future__ import annotations

import base64
import contextlib
import json
import random
from collections.abc import Callable
from typing import Any

from tests.fuzz.target import Defect, Target

from imageserver.errors import BodyError, PictureError, Refused
from imageserver.inference.shared import request_bodies
from imageserver.inference.worker import costly, tensors
from imageserver.web import json_body

PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20
ENCODED = base64.b64encode(PICTURE)
BOUNDARY = "b0undary"
PIECES = (request_bodies.PIECE, 64, 7)
"""Bytes that are handled at once: what comes of a body must not depend on them."""


def in_pieces(data: bytes, read: Callable[[bytes], Any]) -> Any:
    """What `read` makes of `data`, or its error's sentence; the same whatever the pieces are."""
    whole, found = request_bodies.PIECE, []
    for size in PIECES:
        if size < whole and len(data) > 2**14:
            continue  # thousands of steps that take more than the parser
        request_bodies.PIECE = size
        try:
            found.append(bytes(read(data)))
        except (BodyError, PictureError) as error:
            found.append(str(error))
        finally:
            request_bodies.PIECE = whole
    if any(other != found[0] for other in found):
        raise Defect(f"pieces make a difference: {[str(other)[:100] for other in found]}")
    return found[0]


def picture_in_json(data: bytes) -> None:
    """The picture in JSON is that which the standard library finds there, in base64."""
    found = in_pieces(data, request_bodies.from_json)
    try:
        expected = json.loads(data.decode("utf-8-sig"))["image"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return
    if isinstance(found, bytes):
        compact = "".join(expected.split()).partition(",")[2] if expected.startswith("data:") else expected
        compact = "".join(compact.split()).replace("-", "+").replace("_", "/")
        if base64.b64decode(compact + "=" * (-len(compact) % 4)) != found:
            raise Defect("another picture than the standard library finds")


def picture_in_form(data: bytes) -> None:
    """A form; what is found in it stands in it."""
    found = in_pieces(data, lambda body: request_bodies.from_multipart(body, BOUNDARY))
    if isinstance(found, bytes) and found not in data:
        raise Defect("the file is not in the form")


def picture_of_any_kind(data: bytes) -> None:
    """A body whose type nobody says, or of which somebody says each."""
    for kind in ("", "application/json", "image/png", request_bodies.MULTIPART):
        with contextlib.suppress(BodyError, PictureError):
            content = request_bodies.content_of(kind, BOUNDARY, data)
            request_bodies.picture(content, data)


def read_json(data: bytes) -> None:
    """Any JSON, for a worker, and an object for a view."""
    with contextlib.suppress(BodyError):
        request_bodies.parse_json(data)
    with contextlib.suppress(Refused):
        if not isinstance(json_body.parse(bytearray(data)), dict):
            raise Defect("no object")


def tensor(data: bytes) -> None:
    """A request of the Open Inference Protocol: the first two bytes say how many are JSON (0: all)."""
    head, body = int.from_bytes(data[:2], "big"), data[2:]
    with contextlib.suppress(BodyError, PictureError):
        much, its_head = costly.condensed(memoryview(body), head or len(body))
        again, _identity = tensors.read_input(request_bodies.parse_json(much[:its_head]), much[its_head:])
        if again.datatype != "BYTES" and list(tensors.array(again).shape) != again.shape:
            raise Defect("condensed it has another shape")
    with contextlib.suppress(BodyError, PictureError):
        request = request_bodies.parse_json(body[: head or len(body)])
        given, identity = tensors.read_input(request, memoryview(body)[head:] if head else None)
        wanted = tensors.read_wanted(request, ("scores", "label"))
        if not isinstance(identity, str | None) or len(wanted) > 16:
            raise Defect("an id that is no text, or too many outputs")
        if given.datatype == "BYTES":
            if len(tensors.elements(given)) != given.shape[0]:
                raise Defect("elements are missing")
            return
        with contextlib.suppress(BodyError):
            tensors.pixels(given, 1)
        if list(tensors.array(given).shape) != given.shape:
            raise Defect("another shape than was said")


def tensor_request(chance: random.Random) -> bytes:
    """A request that is nearly proper."""
    count, side = chance.choice((1, 1, 2, 3)), chance.choice((1, 2, 5))
    datatype = chance.choice(("UINT8", "FP32", "BYTES"))
    shape = [count] if datatype == "BYTES" else [count, side, side, chance.choice((1, 3))]
    size = 1
    for length in shape:
        size *= length
    values = (0, 1, 255, 256, -1, 1.5, 1e400, 10**30, "7", "", True, None, [], [1], {}, "x" * 2000)
    entry: dict[str, Any] = {"name": "image", "datatype": datatype, "shape": shape}
    binary = b""
    if chance.random() < 0.3:
        binary = chance.randbytes(size * chance.choice((1, 4, 4)) + chance.choice((0, 0, 0, 1)))
        entry["parameters"] = {"binary_data_size": len(binary)}
    else:
        flat: list[Any] = [chance.choice(values[:3]) for _each in range(size)]
        if flat and chance.random() < 0.4:
            flat[chance.randrange(len(flat))] = chance.choice(values)
        nested = [flat[at : at + side] for at in range(0, len(flat), side)]
        entry["data"] = nested if chance.random() < 0.3 else flat
    request = {"inputs": [entry], "outputs": chance.choice(([], [{"name": "label"}], [{"name": 5}], {}))}
    head = json.dumps(request).encode()
    return (len(head) if binary else 0).to_bytes(2, "big") + head + binary


def form(chance: random.Random) -> bytes:
    parts = []
    for _part in range(chance.choice((1, 1, 2, 17))):
        name = chance.choice((b'; filename="a.png"', b"", b"; FileName*=utf-8''a", b'; x="; filename=a'))
        ends = chance.choice((b"\r\n", b"\r\n", b"\n"))
        parts.append(
            b'Content-Disposition: form-data; name="f"' + name + ends + ends + chance.choice((PICTURE, b"", b"x"))
        )
    mark = b"--" + BOUNDARY.encode()
    return mark + b"\r\n" + (b"\r\n" + mark + b"\r\n").join(parts) + b"\r\n" + mark + chance.choice((b"--", b"", b"-"))


_JSON_WORDS = (
    b'"image":',
    b'"',
    b"\\",
    b"\\u0041",
    b"data:image/png;base64,",
    b"=",
    ENCODED,
    b"\\/",
    b'{"a":"',
    b"NaN",
)

TARGETS = [
    Target(
        name="json-picture",
        run=picture_in_json,
        seeds=(
            b'{"image": "' + ENCODED + b'"}',
            b'{"image": "' + ENCODED[:80] + b'"}',
            b'{"a": [1, "b"], "image": ""}',
            b'\xef\xbb\xbf{"image": "data:image/png;base64,' + ENCODED.replace(b"+", b"\\u002b") + b'"}',
            b'{"image": "' + ENCODED.replace(b"/", b"\\/") + b'", "x": "' + b"y" * 5000 + b'"}',
        ),
        covers=("inference.shared.request_bodies",),
        words=_JSON_WORDS,
        longest=2**20,
    ),
    Target(
        name="form",
        run=picture_in_form,
        seeds=(form(random.Random(1)), form(random.Random(5))),
        covers=("inference.shared.request_bodies",),
        shape=form,
        longest=2**20,
        words=(
            b"\r\n--b0undary",
            b"\n--b0undary--",
            b"\n--b0undary \t",
            b"Content-Disposition:",
            b"; filename=",
            b"\r\n\r\n",
        ),
    ),
    Target(
        name="body",
        run=picture_of_any_kind,
        seeds=(PICTURE, b'{"image": "AAAA"}', form(random.Random(2)), b" [1]"),
        covers=("inference.shared.request_bodies",),
        words=_JSON_WORDS,
        longest=2**20,
    ),
    Target(
        name="json",
        run=read_json,
        seeds=(b'{"a": [1, 2.5, "\\ud83d\\ude00", null, true]}', b"\xff\xfe{\x00}\x00", b"[]", b'"a"'),
        covers=("inference.shared.request_bodies", "web.json_body"),
        longest=2**18,
        words=(b"[", b"{", b"1e999", b"-", b"NaN", b"\\ud800", b'"a":', b"9" * 5000),
        byte_memory=160,
    ),
    Target(
        name="tensor",
        run=tensor,
        seeds=tuple(tensor_request(random.Random(number)) for number in range(6)),
        covers=("inference.worker.tensors",),
        shape=tensor_request,
        longest=2**16,
        byte_memory=160,
        seconds=0.01,
        words=(
            b'"data":',
            b"[1]",
            b"1.5",
            b'"' + b"x" * 3000 + b'"',
            b"[",
            b'{"',
            b"99999999999999999999",
            b'"shape":',
        ),
    ),
]
