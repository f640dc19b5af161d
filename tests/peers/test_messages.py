"""What front ends say to each other: read as it was said, and dropped for the reason that it deserves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.peers.links import OTHER, row

from imageserver.peers import messages
from imageserver.peers.messages import ALL, FRAME, MOST_BYTES, PREDICTIONS, ROOM, TO, Dropped, Heard

FRAME_SAID = {"seq": 3, "timestamp": 5, "rotate": 90, "prediction": {"label": "7"}, "error": ""}
SAID = [
    (ALL, "alive", {"new": True}),
    (ALL, "bye", {}),
    (ALL, "rows", {"rows": [row("b.1"), row("b.2", camera="Tür", size=[4, 3], kind="session", values={"HR": 61.5})],
                   "cycle": 1, "piece": 1, "pieces": 0}),
    (ALL, "closed", {"ids": ["b.1"]}),
    (ALL, "follow", {"wanted": None}),
    (ALL, "follow", {"wanted": ["door"]}),
    (f"{TO}a", "watch", {"streams": {"a.1": 7}}),
    (PREDICTIONS, "predictions", {"list": [["b.1", 1, 2, {"label": "7"}, ""], ["b.2", 1, 2, None, "no picture"]]}),
    (f"{FRAME}b.1", "frame", FRAME_SAID),
    (f"{ROOM}", "text", {"text": "snap", "camera": "", "only": []}),
    (f"{ROOM}kitchen", "text", {"text": "\U0001f600", "camera": "Tür", "only": ["door"]}),
    (f"{ROOM}kitchen", "news", {"text": "{}", "owner": "anna", "camera": ""}),
]  # fmt: skip


def read(channel: str, op: str, picture: bytes = b"", **values: Any) -> Heard | Dropped:
    return messages.read(channel, messages.encode(op, "b", OTHER, **values).encode() + picture, 100)


@pytest.mark.parametrize(("channel", "op", "values"), SAID, ids=lambda one: one if isinstance(one, str) else "")
def test_what_is_said_is_read(channel: str, op: str, values: dict[str, Any]) -> None:
    heard = read(channel, op, **values)
    assert isinstance(heard, Heard)
    assert heard.said == {"v": 1, "op": op, "from": "b", "run": OTHER, **values}
    assert json.loads(heard.text) == heard.said and heard.text.isascii() and not heard.picture


def test_a_picture_comes_behind_the_message() -> None:
    heard = read(f"{FRAME}b.1", "frame", b"\n\xff\xd8\n\n", **FRAME_SAID)
    assert isinstance(heard, Heard) and bytes(heard.picture) == b"\xff\xd8\n\n"
    assert read(f"{FRAME}b.1", "frame", b"\n" + bytes(101), **FRAME_SAID) is Dropped.TOO_LARGE


GARBAGE = [
    b"", b"\n", b"{}", b"[]", b"null", b"1", b"\xff\xfe", b"{" * 5000, b"[" * 100_000, b'{"v": 1}', b"\x80\x04K\x01.",
    b'{"v":1,"op":"alive","from":"b","run":"%s","new":NaN}' % OTHER.encode(),
    b'{"v":1,"op":"alive","from":"b","run":"%s","new":1e999}' % OTHER.encode(),
    b'{"v":1,"op":"alive","from":"b","run":"%s","new":%s}' % (OTHER.encode(), b"9" * 5000),
    b'{"v":1,"op":["alive"],"from":"b","run":"%s"}' % OTHER.encode(),
    b'{"v":1,"op":"alive","from":"B C","run":"%s","new":true}' % OTHER.encode(),
    b'{"v":1,"op":"alive","from":"b","run":"zz","new":true}',
]  # fmt: skip


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: repr(data[:30]))
def test_garbage_is_dropped(data: bytes) -> None:
    assert messages.read(ALL, data, 100) in (Dropped.UNREADABLE, Dropped.VERSION)


def test_other_versions_and_what_is_too_large_are_dropped() -> None:
    said = json.loads(messages.encode("bye", "b", OTHER))
    assert messages.read(ALL, json.dumps(said | {"v": 2}).encode(), 100) is Dropped.VERSION
    assert messages.read(ALL, b" " * (MOST_BYTES + 1), 100) is Dropped.TOO_LARGE
    assert messages.read(ALL, b"{}\n" + bytes(101), 100) is Dropped.TOO_LARGE


@pytest.mark.parametrize(
    ("channel", "op", "values"),
    [
        (ALL, "rows", {"rows": [row("a.1")], "cycle": 0, "piece": 0, "pieces": 0}),
        (ALL, "rows", {"rows": [row("bb.1")], "cycle": 0, "piece": 0, "pieces": 0}),
        (ALL, "closed", {"ids": ["b.1", "a.1"]}),
        (PREDICTIONS, "predictions", {"list": [["a.1", 1, 2, {}, ""]]}),
        (f"{FRAME}a.1", "frame", FRAME_SAID),
        (ALL, "frame", FRAME_SAID),
        (f"{TO}a", "bye", {}),
        (f"{ROOM}x", "alive", {"new": False}),
        ("imageserver:2:all", "bye", {}),
    ],
)
def test_nobody_speaks_of_what_is_another_ones(channel: str, op: str, values: dict[str, Any]) -> None:
    assert read(channel, op, **values) is Dropped.FOREIGN


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "b." + "x" * 200}, {"name": 1}, {"fps_in": -1}, {"fps_in": True}, {"fps_in": None}, {"age_ms": "1"},
        {"dropped": 1.5}, {"size": [1]}, {"size": "11"}, {"kind": "camera"}, {"further": 1}, {"values": {"a": [1]}},
        {"camera": "x" * 300}, {"values": {str(one): 1 for one in range(33)}}, {"user": "half \ud800 of a pair"},
    ],
)  # fmt: skip
def test_rows_are_as_they_should_be(wrong: dict[str, Any]) -> None:
    """One that is not hides no other, and the piece of the list counts."""
    found = read(ALL, "rows", rows=[row("b.0"), row("b.1") | wrong], cycle=3, piece=1, pieces=1)
    assert isinstance(found, Heard) and found.dropped == 1
    assert found.said["rows"] == [row("b.0")] and found.said["cycle"] == 3
    assert json.loads(found.text) == found.said


@pytest.mark.parametrize(
    "wrong",
    [
        None, ["b.1", 1, 2, {}], ["b.1", -1, 2, {}, ""], ["b.1", 1, 2, {"deep": json.loads("[" * 30 + "]" * 30)}, ""],
        ["b.1", 1, 2, {"label": "half \ud800 of a pair"}, ""], ["b.1", 1, 2, None, "x" * 5000], [[], 1, 2, {}, ""],
    ],
)  # fmt: skip
def test_predictions_are_as_they_should_be(wrong: Any) -> None:
    """What one model says hides nothing of the others'."""
    sound = ["b.2", 1, 2, {"label": "7"}, ""]
    found = read(PREDICTIONS, "predictions", list=[wrong, sound])
    assert isinstance(found, Heard) and found.dropped == 1
    assert found.said["list"] == [sound] == json.loads(found.text)["list"]


def test_other_halves_of_surrogate_pairs_are_no_text() -> None:
    assert read(ALL, "rows", rows=[row("b.0")], cycle=0, piece=0, pieces=0, more="\ud800") is Dropped.UNREADABLE
    assert read(ALL, "closed", ids=["b.\udfff"]) is Dropped.UNREADABLE


@pytest.mark.parametrize(
    ("channel", "op", "values"),
    [
        (f"{TO}a", "watch", {"streams": {"a.1": -1}}),
        (f"{TO}a", "watch", {"streams": {str(one): 1 for one in range(600)}}),
        (ALL, "follow", {}),
        (ALL, "follow", {"wanted": "all"}),
        (ALL, "alive", {"new": 1}),
        (PREDICTIONS, "predictions", {"list": {}}),
        (f"{FRAME}b.1", "frame", FRAME_SAID | {"rotate": 45}),
        (f"{FRAME}b.1", "frame", FRAME_SAID | {"prediction": []}),
        (f"{FRAME}b.1", "frame", FRAME_SAID | {"prediction": {"deep": json.loads("[" * 30 + "]" * 30)}}),
        (ROOM, "text", {"text": 1, "camera": "", "only": []}),
        (ROOM, "text", {"text": "x", "camera": "", "only": "door"}),
        (ROOM, "news", {"text": "x", "owner": None, "camera": ""}),
    ],
)
def test_values_are_as_they_should_be(channel: str, op: str, values: dict[str, Any]) -> None:
    assert read(channel, op, **values) is Dropped.UNREADABLE


def test_our_own_rows_can_be_read() -> None:
    described = {name: value for name, value in row("session-1").items() if name not in ("counts", "kind")}
    told = messages.row(described | {"front_end": "b"}, "b", "door", "session", {"HR": float("nan"), "blinks": 3})
    assert (told["id"], told["values"], "front_end" in told) == ("b.session-1", {"blinks": 3}, False)
    assert isinstance(read(ALL, "rows", rows=[told], cycle=0, piece=0, pieces=0), Heard)
    odd = row("1", name="half \ud800", user="half \ud800") | {"camera": "T\udc00r"}
    values = {"big": 10**30, "words \ud800": "\udfff", "blinks": 3}
    heard = read(ALL, "rows", rows=[messages.row(odd, "b", "\ud800", "session", values)], cycle=0, piece=0, pieces=0)
    assert isinstance(heard, Heard) and not heard.dropped
    (told,) = heard.said["rows"]
    assert (told["user"], told["camera"], told["values"]) == ("half ?", "T?r", {"words ?": "?", "blinks": 3})
    assert messages.own_id("b.1", "b") == "b.1"
    assert messages.whole(-5) == 0 and messages.whole(2**64) == 2**53 - 1
