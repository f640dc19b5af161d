"""Files of networks, as far as they are looked at before a runtime opens them."""

from __future__ import annotations

import io
import random
import struct
import zipfile

from tests.fuzz.target import Defect, Target

from imageserver.inference.shared.formats import onnx, protobuf, tflite

GRAPH, INITIALIZER, EXTERNAL, TEXT = 7, 5, 13, 14


def onnx_file(data: bytes) -> None:
    """What a file names is found, or a sentence says why not; no path that is let through leads out."""
    try:
        found = onnx.read(io.BytesIO(data), len(data))
    except ValueError as error:
        if len(str(error)) > 200:
            raise Defect(f"a sentence of {len(str(error))} characters") from error
        return
    for location in found.locations:
        try:
            onnx.check_location(location)
        except ValueError:
            continue
        depth = 0
        for part in location.split("/"):
            depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
            if depth < 0 or location.startswith("/"):
                raise Defect(f"{location!r} leads out")


def tflite_file(data: bytes) -> None:
    """Texts within their bounds, or none: no archive is an error."""
    for key, text in tflite.read(io.BytesIO(data)).items():
        if len(text) > 4 * tflite.LARGEST:
            raise Defect(f"{len(text)} characters of {key[:50]!r}")


def some_archive(chance: random.Random) -> bytes:
    """A network with an archive behind it, of which one byte may be wrong."""
    stream = io.BytesIO(b"\x1c\0\0\0TFL3")
    with zipfile.ZipFile(stream, "a", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for number in range(chance.randrange(3)):
            name = chance.choice(("labels.txt", "meta.json", "other.bin"))
            archive.writestr(f"{number}{name}", chance.choice(("cat\ndog", '{"names": {"0": "a"}}', "{0: [", "\xff")))
    made = bytearray(stream.getvalue())
    if chance.random() < 0.5:
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


def fields_of(data: bytes) -> None:
    """Fields lie one behind the other, inside of the message, to its very end."""
    at = 0
    try:
        for field in protobuf.fields(io.BytesIO(data), 0, len(data)):
            if field.kind != protobuf.VARINT:
                if not at < field.start <= field.end <= len(data):
                    raise Defect(f"{field} of {len(data)} bytes, behind {at}")
                at = field.end
    except ValueError:
        return


def field(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    size, head = len(content), bytes([number << 3 | 2])
    while size > 0x7F:
        head += bytes([size & 0x7F | 0x80])
        size >>= 7
    return head + bytes([size]) + content


def some_file(chance: random.Random) -> bytes:
    """A model with tensors elsewhere, at chance depths; one length may be wrong."""
    places = (b"w.bin", b"../w", b"/etc/passwd", b"a/../b", b"a/./b", b"\xff", b"", b"x" * 2000)
    entry = field(1, chance.choice((b"location", b"offset", b""))) + field(2, chance.choice(places))
    tensor = field(EXTERNAL, entry) + field(9, bytes(chance.randrange(40)))
    for _ in range(chance.randrange(4)):
        tensor = field(1, field(5, field(chance.choice((5, 6)), tensor)))
    made = b"\x08\x08" + field(TEXT, field(1, b"names") + field(2, b"{}")) + field(GRAPH, field(INITIALIZER, tensor))
    if chance.random() < 0.3:
        at = chance.randrange(len(made))
        made = made[:at] + struct.pack("B", chance.randrange(256)) + made[at + 1 :]
    return made


SEEDS = tuple(some_file(random.Random(number)) for number in range(8))

TARGETS = [
    Target(
        name="onnx-file",
        run=onnx_file,
        seeds=SEEDS,
        covers=("inference.shared.formats.onnx", "inference.shared.formats.kinds"),
        shape=some_file,
        words=(b"\x3a", b"\x2a", b"\x6a", b"location", b"../", b"\xff\xff\xff\xff\x0f", b"\x08\x01"),
        longest=2**16,
        byte_seconds=2e-5,
        byte_memory=400,
    ),
    Target(
        name="tflite-file",
        run=tflite_file,
        seeds=tuple(some_archive(random.Random(number)) for number in range(8)),
        covers=("inference.shared.formats.tflite",),
        shape=some_archive,
        words=(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"{", b"\xff\xff\xff\xff"),
        longest=2**16,
        byte_seconds=1e-5,
        memory=8 * 2**20,
    ),
    Target(
        name="protobuf-fields",
        run=fields_of,
        seeds=SEEDS,
        covers=("inference.shared.formats.protobuf",),
        words=(b"\x08", b"\x0d", b"\x09", b"\x0a", b"\xff" * 9),
        longest=2**16,
        byte_seconds=1e-5,
    ),
]
