"""Headers of binary events seen before: what is kept, what is not, and that nothing is shared between events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imageserver.transport.socketio.header_cache import (
    LONGEST_HEADER,
    MOST_HEADERS,
    MOST_PARTS,
    EventHeader,
    HeaderCache,
)

PLACE = {"_placeholder": True, "num": 0}


def header(arguments: list[Any], count: int = 1, namespace: str = "", number: str = "") -> bytes:
    return f"45{count}-{namespace}{number}".encode() + json.dumps(["event", *arguments]).encode()


@pytest.mark.parametrize(("arguments", "count", "attachments", "filled"), [
    ([PLACE], 1, [b"a"], [b"a"]),
    ([1, "x", None, PLACE, True], 1, [b"a"], [1, "x", None, b"a", True]),
    ([PLACE, {"_placeholder": True, "num": 1}], 2, [b"a", b"b"], [b"a", b"b"]),
    ([PLACE, PLACE], 1, [b"a"], [b"a", b"a"]),
    ([{"deep": [PLACE, {"more": 1}]}], 1, [b"a"], [{"deep": [b"a", {"more": 1}]}]),
])  # fmt: skip
def test_fill(arguments: list[Any], count: int, attachments: list[bytes], filled: list[Any]) -> None:
    form = EventHeader("/", "event", arguments, count)
    assert form.fill(attachments) == filled
    again = form.fill(attachments)
    assert again == filled
    assert all(again is not value for value in (form.fill(attachments), form.arguments))


def test_handlers_cannot_spoil_a_form() -> None:
    form = EventHeader("/", "event", [{"list": []}, PLACE], 1)
    form.fill([b"a"])[0]["list"].append("spoilt")
    assert form.fill([b"b"]) == [{"list": []}, b"b"]


@pytest.mark.parametrize("number", [1, 3, -1, "0", True, False, None, 0.0, [], {}])
@pytest.mark.parametrize("deep", [False, True])
def test_placeholders_that_fit_nothing(number: Any, deep: bool) -> None:
    place: Any = {"_placeholder": True, "num": number}
    with pytest.raises(ValueError, match="a placeholder for attachment"):
        EventHeader("/", "event", [[place] if deep else place], 1).fill([b"a"])


@pytest.mark.parametrize("namespace", ["", "/other,"])
def test_find(namespace: str) -> None:
    forms, form = HeaderCache(), EventHeader("/", "event", [PLACE], 1)
    assert forms.find(header([PLACE], namespace=namespace)) is None
    forms.learn(header([PLACE], namespace=namespace, number="12"), form)
    assert forms.find(header([PLACE], namespace=namespace, number="13")) == (form, 13)
    assert forms.find(header([PLACE], namespace=namespace, number="0")) == (form, 0)
    forms.learn(header([PLACE], namespace=namespace), form)
    assert forms.find(header([PLACE], namespace=namespace)) == (form, None)
    assert forms.find(header([PLACE], namespace="/third,")) is None
    assert forms.find(header([PLACE], count=2, namespace=namespace)) is None


def test_what_is_kept_is_bounded() -> None:
    forms = HeaderCache()
    for index in range(3 * MOST_HEADERS):
        raw = header([index, PLACE])
        forms.learn(raw, EventHeader("/", "event", [index, PLACE], 1))
        assert forms.find(raw) is not None
        assert len(forms._by_rest) <= MOST_HEADERS
        assert len(forms._exact) <= MOST_HEADERS
    long = header(["x" * LONGEST_HEADER, PLACE])
    forms.learn(long, EventHeader("/", "event", ["x" * LONGEST_HEADER, PLACE], 1))
    assert forms.find(long) is None
    many = header([[[]] * MOST_PARTS, PLACE])
    forms.learn(many, EventHeader("/", "event", [[[]] * MOST_PARTS, PLACE], 1))
    assert forms.find(many) is None


@pytest.mark.parametrize("raw", [b'42["event",1]', b"2", b"", b"451-", b'451-/a["event"]', b"\xff\xfe"])
def test_other_messages_are_left_alone(raw: bytes) -> None:
    assert HeaderCache().find(raw) is None
