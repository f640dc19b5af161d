"""JSON as it goes over the wire: what no parser of JavaScript's or Java's can read is neither taken nor sent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from socketio import packet as packets

from imageserver.transport.socketio.packets import SocketPacket


@pytest.mark.parametrize(("data", "encoded"), [
    (["e", 1, "ü", None], '2["e",1,"\\u00fc",null]'),
    (["e", math.nan, {"scores": [math.inf, (0.5, -math.inf)]}], '2["e",null,{"scores":[null,[0.5,null]]}]'),
])  # fmt: skip
def test_what_is_sent(data: list[Any], encoded: str) -> None:
    assert SocketPacket(packets.EVENT, data).encode() == encoded


@pytest.mark.parametrize("text", ['2["e",NaN]', '2["e",Infinity]', '2["e",[-Infinity]]', '2["e",{"a":NaN}]'])
def test_what_is_not_taken(text: str) -> None:
    with pytest.raises(ValueError, match="is no JSON"):
        SocketPacket(encoded_packet=text)


def test_a_number_too_large_is_an_infinity_and_comes_back_as_null() -> None:
    packet = SocketPacket(encoded_packet='2["e",1e999]')
    assert packet.data == ["e", math.inf]
    assert packet.encode() == '2["e",null]'


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError):
        SocketPacket(packets.EVENT, ["e", object()]).encode()
