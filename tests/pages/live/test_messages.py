"""What is said on `/live`: bytes in, messages out, and back."""

from __future__ import annotations

import json
import struct

import pytest
from tests.running import picture

from imageserver.errors import BodyError
from imageserver.pages.live import messages
from imageserver.pages.live.messages import Message, PageHidden, RoundHandled, StreamFilter, Watching
from imageserver.streams.frame import Frame, NewestFrame
from imageserver.transport.websocket import frames


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"round": 3}', RoundHandled(3)),
        ('{"watch": []}', Watching(())),
        ('{"watch": ["a", "b"]}', Watching(("a", "b"))),
        (json.dumps({"watch": ["i" * 128] * 64}), Watching(("i" * 128,) * 64)),
        ('{"pause": true}', PageHidden(True)),
        ('{"filter": "Küche"}', StreamFilter("Küche")),
    ],
)
def test_what_a_page_says(text: str, expected: Message) -> None:
    assert messages.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "1", "null", "[]", "{}", '{"else": 1}', '{"round": 1.5}', '{"round": null}', '{"round": false}',
        '{"pause": 1}', '{"filter": 5}', '{"watch": "a"}', '{"watch": [1]}', '{"watch": ["' + "i" * 129 + '"]}',
        '{"round": ' + "1" * 5000 + "}", "[" * 16_000, '{"watch": [], "round": 1}',
    ],
)  # fmt: skip
def test_what_no_page_says(text: str) -> None:
    with pytest.raises(BodyError, match="a page says") as refused:
        messages.parse(text)
    assert len(str(refused.value).encode()) <= 123, "a close frame holds no more"


def newest(data: bytes, error: str = "") -> NewestFrame:
    return NewestFrame(Frame(data, 17, 5, 1.0), {} if error else {"label": "é", "score": 0.5}, error, 90)


def test_a_frame_goes_out_as_it_came() -> None:
    data = picture()
    before, after = messages.frame_parts("an id", newest(data))
    assert after is data
    head = frames.frame_header(frames.BINARY, len(before) - 4 + len(data))
    assert before.startswith(head)
    (length,) = struct.unpack_from("<I", before, len(head))
    assert json.loads(before[len(head) + 4 :]) == {
        "id": "an id",
        "seq": 17,
        "type": "image/jpeg",
        "rotate": 90,
        "prediction": {"label": "é", "score": 0.5},
        "error": "",
    }
    assert length == len(before) - len(head) - 4


def test_what_is_no_picture_is_not_sent() -> None:
    before, after = messages.frame_parts("an id", newest(b"<script>", "no picture"))
    assert after == b""
    assert b'"type":"","rotate":90,"prediction":{},"error":"no picture"}' in before


def test_half_of_a_character_ends_nothing() -> None:
    assert messages.to_json({"label": "a\ud800b"}) == b'{"label":"a?b"}'
