"""What comes over Redis: words of life come through whatever else does, and what is dropped is counted."""

from __future__ import annotations

from typing import Any

import pytest
from tests.peers.links import OTHER, row

from imageserver.peers import messages
from imageserver.peers.messages import ALL, FRAME, PREDICTIONS, ROOM, TO
from imageserver.peers.redis import inbox
from imageserver.peers.redis.inbox import Inbox

FRAME_SAID = {"seq": 3, "timestamp": 5, "rotate": 0, "prediction": {}, "error": ""}


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Inbox:
    monkeypatch.setattr(inbox, "PATIENCE", 0.0)
    return Inbox(b"ours", 2**20, 2**20, 2**16)


def add(box: Inbox, channel: str, op: str, picture: bytes = b"", **values: Any) -> None:
    box.add(channel, messages.encode(op, "b", OTHER, **values).encode() + b"\n" + picture)


def heard(box: Inbox) -> tuple[list[str], dict[str, int]]:
    """All that waits, by channels, and what was dropped."""
    channels: list[str] = []
    dropped: dict[str, int] = {}
    while True:
        found, _picture = box.receive()
        dropped |= found["dropped"]
        if not found["messages"] and found["frame"] is None:
            return channels, dropped
        channels += [channel for channel, _text in found["messages"]]
        channels += [found["frame"][0]] if found["frame"] else []


@pytest.mark.parametrize("flood", ["texts", "frames", "predictions"])
def test_words_of_life_come_through_whatever_else_comes(box: Inbox, flood: str) -> None:
    for number in range(400):
        if flood == "texts":
            add(box, f"{ROOM}x", "text", text="\0" * 2**16, camera="", only=[])
        elif flood == "frames":
            add(box, f"{FRAME}b.{number}", "frame", bytes(2**16), **FRAME_SAID)
        else:
            add(box, PREDICTIONS, "predictions", list=[["b.1", 1, 2, {"label": "x" * 2**16}, ""]])
    add(box, ALL, "alive", new=False)
    add(box, f"{TO}a", "watch", streams={})
    channels, dropped = heard(box)
    assert {ALL, f"{TO}a"} <= set(channels) and dropped["too many"] > 300


def test_words_of_life_do_not_wait_behind_texts(box: Inbox) -> None:
    for number in range(60):
        add(box, f"{ROOM}x", "text", text=str(number), camera="", only=[])
    add(box, ALL, "alive", new=False)
    found, _picture = box.receive()
    assert found["messages"][0][0] == ALL and len(found["messages"]) == 51
    assert heard(box) == ([f"{ROOM}x"] * 10, {})


def test_rows_that_are_left_out_are_counted(box: Inbox) -> None:
    add(box, ALL, "rows", rows=[row("b.1"), row("b.2", fps_in=-1), row("b.3", name=5)], cycle=1, piece=1, pieces=1)
    found, _picture = box.receive()
    assert len(found["messages"]) == 1 and found["dropped"] == {"unreadable": 2}
