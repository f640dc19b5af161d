"""What servers answer that run models elsewhere: over HTTP and over gRPC."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable

import numpy as np
from tests.fuzz.target import Defect, Target

from imageserver.inference.worker.cluster import answers
from imageserver.inference.worker.remote import messages, proto

LONGEST = 600
"""Characters of a sentence."""


def told(read: Callable[[bytes], object], data: bytes) -> object:
    """What a reader makes of the bytes, None where it says why not: a sentence of a bounded length."""
    try:
        return read(data)
    except ValueError as error:
        if len(str(error)) > LONGEST:
            raise Defect(f"a sentence of {len(str(error))} characters") from error
        return None


def check(found: object) -> None:
    """Tensors are float32, and few texts."""
    for output in found.values() if isinstance(found, dict) else ():
        if isinstance(output, np.ndarray) and output.dtype != np.float32:
            raise Defect(f"a tensor of {output.dtype}")
        if isinstance(output, list) and len(output) > messages.MOST_TEXTS:
            raise Defect(f"{len(output)} texts")


def over_http(data: bytes) -> None:
    """The first two bytes say how much of an answer is JSON."""
    head = int.from_bytes(data[:2], "big")
    check(told(lambda body: messages.answer(body, head), data[2:]))
    for read in (messages.model_form, messages.extensions, messages.said_ready, messages.fault):
        told(read, data[2:])


def over_grpc(data: bytes) -> None:
    check(told(proto.answer, data))
    told(proto.model_form, data)
    told(proto.said_ready, data)


def of_a_replica(data: bytes) -> None:
    """An answer to a batch of two pictures, in a slot of 64 bytes."""
    told(lambda body: answers.unpack(body, memoryview(bytearray(64)), 2), data)


def some_answer(chance: random.Random) -> bytes:
    """Tensors of chance shapes, nearly with as many bytes as these say."""
    outputs, binary = [], b""
    for number in range(chance.randrange(4)):
        shape = [chance.choice((0, 1, 2, 3, -1, 2**30)) for _ in range(chance.randrange(4))]
        datatype = chance.choice((*messages.NUMBERS, "BYTES", "BF16"))
        output: dict[str, object] = {"name": f"o{number}", "datatype": datatype, "shape": shape}
        if chance.random() < 0.6:
            size = chance.choice((0, 1, 4, 8, 12, 24, 10**9))
            output["parameters"] = {"binary_data_size": size}
            binary += chance.randbytes(min(size, 64))
        else:
            output["data"] = [chance.choice((0, 1.5, "a", True, None, 1e300, [1])) for _ in range(chance.randrange(7))]
        outputs.append(output)
    head = json.dumps({"outputs": outputs, "ready": chance.random() < 0.5, "error": "no"}).encode()
    return struct.pack(">H", len(head) if binary else 0) + head + binary


def some_message(chance: random.Random) -> bytes:
    """An answer over gRPC, raw or not; one byte may be wrong."""
    answer = proto.types()["ModelInferResponse"]()
    for number in range(chance.randrange(4)):
        shape = [chance.choice((0, 1, 2, 3, -1, 2**40)) for _ in range(chance.randrange(4))]
        output = answer.outputs.add(name=f"o{number}", datatype=chance.choice(("FP32", "BYTES", "BOOL")), shape=shape)
        if chance.random() < 0.5:
            output.contents.fp32_contents.extend([0.5] * chance.randrange(7))
            output.contents.bytes_contents.extend([b"a"] * chance.randrange(3))
        else:
            answer.raw_output_contents.append(chance.randbytes(chance.choice((0, 4, 8, 24))))
    made: bytes = answer.SerializeToString()
    if made and chance.random() < 0.3:
        at = chance.randrange(len(made))
        made = made[:at] + bytes([chance.randrange(256)]) + made[at + 1 :]
    return made


def some_done(chance: random.Random) -> bytes:
    """What a worker has said of two pictures, nearly."""
    results = [
        {"answer": {"at": chance.randrange(-1, 9), "size": chance.randrange(9), "head": 0}}
        for _ in range(chance.choice((2, 2, 2, 1)))
    ]
    done = {"results": results, "costs": [[chance.randrange(3), chance.choice((5, "a"))]]}
    if chance.random() < 0.2:
        done = {"results": [], "lost": "gone", "ended": chance.random() < 0.5}
    body = json.dumps(done).encode()
    return struct.pack("<I", len(body)) + body + bytes(chance.randrange(9))


TARGETS = [
    Target(
        name="remote-http",
        run=over_http,
        seeds=tuple(some_answer(random.Random(number)) for number in range(8)),
        covers=("inference.worker.remote.messages",),
        shape=some_answer,
        words=(b'"outputs":', b'"shape":', b'"binary_data_size":', b'"data":', b"BYTES", b"-1", b"[[", b"1e999"),
        longest=2**16,
        byte_seconds=1e-5,
        memory=2**20,
        byte_memory=600,
    ),
    Target(
        name="remote-grpc",
        run=over_grpc,
        seeds=tuple(some_message(random.Random(number)) for number in range(8)),
        covers=("inference.worker.remote.proto",),
        shape=some_message,
        words=(b"\x2a", b"\x32", b"\x12\x04FP32", b"\xff\xff\xff\xff\x0f", b"BYTES"),
        longest=2**16,
        byte_seconds=1e-5,
        memory=2**20,
        byte_memory=600,
    ),
    Target(
        name="replica",
        run=of_a_replica,
        seeds=tuple(some_done(random.Random(number)) for number in range(8)),
        covers=("inference.worker.cluster.answers",),
        shape=some_done,
        words=(b'"results":', b'"answer":', b'"lost":', b"[[", b"-1", b"\xff\xff\xff\xff"),
        longest=2**16,
        byte_seconds=1e-5,
        memory=2**20,
        byte_memory=600,
    ),
]
