"""What comes back from a replica: as it was packed, or a sentence on why it is none."""

from __future__ import annotations

import json
import struct

import pytest

from imageserver.inference.worker.cluster import answers


def slot(size: int = 1000) -> memoryview:
    return memoryview(bytearray(size))


def packed(done: object, rest: bytes = b"") -> bytes:
    body = json.dumps(done).encode()
    return struct.pack("<I", len(body)) + body + rest


def test_it_comes_back_as_it_was() -> None:
    there, here = slot(), slot()
    there[:6] = b"abcdef"
    done = {
        "results": [{"label": "ä", "score": 0.5}, {"answer": {"at": 2, "size": 4, "head": 0}}],
        "costs": [[0, 2**21]],
        "aside": [],
        "limits": [[1, "max_pixels"]],
    }
    assert answers.unpack(answers.pack(done, there), here, 2) == done
    assert bytes(here[2:6]) == b"cdef"
    assert len(answers.pack({"results": []}, there)) < 40, "of the slot nothing goes that holds no answer"


def test_a_lost_batch() -> None:
    assert answers.unpack(packed(answers.lost("gone", ended=True)), slot(), 3) == {
        "results": [], "lost": "gone", "ended": True,
    }  # fmt: skip
    assert answers.unpack(packed(answers.lost("gone")), slot(), 3) == {"results": [], "lost": "gone"}


def test_what_fills_the_slot() -> None:
    items = [{"at": 0, "size": 3, "form": "image", "rotate": 0}, {"at": 3, "size": 5, "form": "image", "rotate": 0}]
    assert answers.extent(items) == 8  # type: ignore[arg-type]
    assert answers.extent([]) == 0


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"results": []},
        b"",
        b"\xff\xff\xff\xff{}",
        packed([]),
        packed({}),
        packed({"results": [{}, {}]}),
        packed({"results": [5]}),
        packed({"results": [{}], "aside": [[1, 5]]}),
        packed({"results": [{}], "costs": [[0]]}),
        packed({"results": [{}], "limits": [[0, 5]]}),
        packed({"results": [{"answer": {"at": 0, "size": 5, "head": 0}}]}, b"abcd"),
        packed({"results": [{"answer": {"at": -1, "size": 1, "head": 0}}]}, b"abcd"),
        packed({"results": [{"answer": {}}]}, b"abcd"),
        packed({"results": [{}]}, bytes(2000)),
        packed({"results": [{}]})[:-2],
        struct.pack("<I", 100_000) + b"[" * 100_000,
    ],
)
def test_what_is_none_is_told(data: object) -> None:
    with pytest.raises(ValueError):
        answers.unpack(data, slot(), 1)
