"""Headers of binary events that were seen before, so that a repeated one costs a look-up instead of parsing JSON. Pure.

A camera sends the same header before each picture. What it says is kept as an `EventHeader` under the header's bytes,
for any event, namespace, acknowledgement id and number of placeholders.
"""

from __future__ import annotations

import re
from typing import Any

MOST_HEADERS = 512
LONGEST_HEADER = 1024
"""In bytes. A longer header is parsed each time."""
MOST_PARTS = 64
"""Lists and objects in a header that is kept: those of hundreds of headers are a burden for the collector."""

_HEADER = re.compile(rb"45(\d{1,9})-(/[^,]*,)?(\d{1,15})?(\[.*)", re.DOTALL)


class EventHeader:
    """What a header says beside its acknowledgement id."""

    __slots__ = ("_at", "_scalars", "arguments", "count", "event", "namespace")

    def __init__(self, namespace: str, event: str, arguments: list[Any], count: int) -> None:
        self.namespace, self.event, self.arguments, self.count = namespace, event, arguments, count
        # One attachment among arguments that nobody can change: they need not be made anew for each event.
        placeholders = [index for index, value in enumerate(arguments) if _is_placeholder(value)]
        others_immutable = all(
            value is None or isinstance(value, (str, int, float)) for value in arguments if not _is_placeholder(value)
        )
        simple = (
            count == 1 and len(placeholders) == 1 and others_immutable and _fits(arguments[placeholders[0]]["num"], 1)
        )
        self._at = placeholders[0] if simple else -1
        self._scalars = [None if _is_placeholder(value) else value for value in arguments]

    def fill(self, attachments: list[bytes]) -> list[Any]:
        """The event's arguments, their placeholders filled. ValueError when one fits no attachment."""
        if self._at >= 0:
            filled = self._scalars.copy()
            filled[self._at] = attachments[0]
            return filled
        return [_filled(argument, attachments) for argument in self.arguments]


def _is_placeholder(value: object) -> bool:
    return isinstance(value, dict) and bool(value.get("_placeholder")) and "num" in value


def _fits(number: object, count: int) -> bool:
    return type(number) is int and 0 <= number < count  # python-socketio takes -1 and true as well


def _filled(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, list):
        return [_filled(item, attachments) for item in value]
    if not isinstance(value, dict):
        return value
    if not _is_placeholder(value):
        return {key: _filled(item, attachments) for key, item in value.items()}
    if not _fits(value["num"], len(attachments)):
        raise ValueError(f"a placeholder for attachment {value['num']!r} of {len(attachments)}")
    return attachments[value["num"]]


class HeaderCache:
    """The headers seen so far, at most `MOST_HEADERS`; when there are more, the oldest gives way."""

    def __init__(self) -> None:
        self._exact: dict[bytes, EventHeader] = {}
        self._by_rest: dict[tuple[bytes, ...], EventHeader] = {}

    def find(self, raw: bytes) -> tuple[EventHeader, int | None] | None:
        """What a raw Engine.IO text message says, and the acknowledgement id in it; None when it was never seen."""
        if len(raw) > LONGEST_HEADER:
            return None
        header = self._exact.get(raw)
        if header is not None:
            return header, None
        found = _HEADER.fullmatch(raw)
        if found is None:
            return None
        count, namespace, number, rest = found.groups(b"")
        header = self._by_rest.get((count, namespace, rest))
        if header is None:
            return None
        return header, int(number) if number else None

    def learn(self, raw: bytes, header: EventHeader) -> None:
        """Keep what a header that was parsed says."""
        found = _HEADER.fullmatch(raw) if len(raw) <= LONGEST_HEADER else None
        if found is None or raw.count(b"[") + raw.count(b"{") > MOST_PARTS:
            return
        if len(self._by_rest) >= MOST_HEADERS:
            del self._by_rest[next(iter(self._by_rest))]
        if len(self._exact) >= MOST_HEADERS:
            del self._exact[next(iter(self._exact))]
        count, namespace, number, rest = found.groups(b"")
        self._by_rest[count, namespace, rest] = header
        if not number:
            self._exact[raw] = header
