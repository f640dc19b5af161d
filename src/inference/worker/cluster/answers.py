"""What goes to a replica and comes back: the pictures of a batch as one piece of bytes, and its answer as another.

An answer is what the worker said as JSON, and behind it, where answers lie in its slot, as much of that as they fill.
Plain bytes, so that nothing that a node says has to be an object. Pure.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from imageserver.inference.shared import wire

MOST_JSON = wire.MAX_MESSAGE
ENDED = "ended"
"""The key of an answer that says that the worker ended while it ran this batch."""
PAIRS = {"aside": int, "costs": int, "limits": str}
"""Keys whose values are lists of an index and one of these."""
_LENGTH = struct.Struct("<I")


def extent(items: Sequence[wire.Item]) -> int:
    """Bytes of the slot that the pictures fill."""
    return max((item["at"] + item["size"] for item in items), default=0)


def lost(reason: str, ended: bool = False) -> wire.Message:
    """The answer where nothing was answered, as if the worker had died; `ended`: it did, of this batch or beside it."""
    return {"results": [], "lost": reason, **({ENDED: True} if ended else {})}


def pack(done: wire.Message, slot: memoryview) -> bytes:
    """An answer as bytes. ValueError: it is too large."""
    filled = max((answer["at"] + answer["size"] for answer in _answers(done["results"])), default=0)
    body = json.dumps(done, separators=(",", ":"), ensure_ascii=False).encode()
    if len(body) > MOST_JSON:
        raise ValueError(f"an answer of {len(body)} bytes exceeds {MOST_JSON}")
    return b"".join((_LENGTH.pack(len(body)), body, slot[:filled]))


def unpack(data: object, slot: memoryview, count: int) -> wire.Message:
    """The same backwards, into the slot of the batch.

    Args:
        data: what a replica returned.
        slot: where the answers go.
        count: pictures of the batch.

    Raises:
        ValueError: it is no answer to such a batch; how a sentence goes on.
    """
    if not isinstance(data, bytes) or len(data) < _LENGTH.size:
        raise ValueError("is none")
    (length,) = _LENGTH.unpack_from(data)
    rest = memoryview(data)[_LENGTH.size + length :]
    if length > MOST_JSON or len(rest) > len(slot):
        raise ValueError("is too large")
    try:
        done = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(done, dict):
        raise ValueError("is none")
    if isinstance(reason := done.get("lost"), str):
        return lost(reason[:1000], done.get(ENDED) is True)
    results = done.get("results")
    if not isinstance(results, list) or len(results) != count or not all(isinstance(each, dict) for each in results):
        raise ValueError(f"holds no results for {count} pictures")
    for answer in _answers(results):
        numbers = [answer.get(key) for key in ("at", "size", "head")]
        if not all(isinstance(number, int) and number >= 0 for number in numbers) or sum(numbers[:2]) > len(rest):
            raise ValueError("names bytes that are not there")
    slot[: len(rest)] = rest
    return {"results": results, **{key: _pairs(done[key], kind, count) for key, kind in PAIRS.items() if key in done}}


def _pairs(value: Any, kind: type, count: int) -> list[Any]:
    """ValueError."""
    good = isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
    if not good or not all(isinstance(at, int) and 0 <= at < count and isinstance(what, kind) for at, what in value):
        raise ValueError("says something of pictures that are not there")
    return list(value)


def _answers(results: Sequence[Any]) -> list[Any]:
    return [result["answer"] for result in results if isinstance(result.get("answer"), dict)]
