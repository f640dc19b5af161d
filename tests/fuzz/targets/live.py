"""What a live page says."""

from __future__ import annotations

import json
from random import Random

from tests.fuzz.target import Defect, Target

from imageserver.errors import BodyError
from imageserver.pages.live import messages
from imageserver.pages.live.messages import PageHidden, RoundHandled, StreamFilter, Watching


def said(data: bytes) -> None:
    """A text of a page: a message that is that text in other words, or a sentence that a close frame holds."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # the WebSocket ends before
    try:
        found = messages.parse(text)
    except BodyError as error:
        if len(str(error).encode()) > 123 or not str(error).isprintable():
            raise Defect(f"a sentence that is none: {error}") from None
        return
    match found:
        case Watching(ids):
            if len(ids) > messages.MOST_WATCHED or any(len(one) > messages.MOST_ID for one in ids):
                raise Defect(f"{len(ids)} streams to watch")
            words: object = {"watch": list(ids)}
        case RoundHandled(number):
            words = {"round": number}
        case PageHidden(hidden):
            words = {"pause": hidden}
        case StreamFilter(wanted):
            words = {"filter": wanted}
    if json.loads(text) != words:
        raise Defect(f"{text!r} is taken for {words!r}")


def shape(random: Random) -> bytes:
    """A message with values of any kind."""
    value = random.choice([True, 3, -1, 1.0, None, "text", ["a", "b"], ["a"] * 70, [["a"]], {}, "x" * 300])
    name = random.choice(["watch", "round", "pause", "filter", "other"])
    return json.dumps({name: value}).encode()


TARGETS = [
    Target(
        name="live-page",
        run=said,
        seeds=(b'{"watch":["a","b"]}', b'{"round":17}', b'{"pause":true}', b'{"filter":"front door"}', b"[[[[", b""),
        covers=("pages.live.messages",),
        words=(b'"watch"', b'"round"', b'"pause"', b'"filter"', b"true", b"\\ud800", b"1e999", b"NaN", b"[", b"{"),
        shape=shape,
        longest=messages.MOST_BYTES,
    )
]
