"""What clients see when the server stops: an end that makes every one of them come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import websocket
from tests.transport.sio import Sio

Serve = Callable[..., Any]


@pytest.mark.parametrize("version", [3, 4])
def test_a_websocket_ends_without_a_close_frame_behind_what_was_sent(serve: Serve, version: int) -> None:
    served = serve()
    client = Sio(served, version)
    client.emit("stop", 8_000_000)  # more than the kernel takes at once, and something that waits behind it
    for size in (8_000_000, 10):
        assert client.recv() == '451-["last",{"_placeholder":true,"num":0}]'
        assert len(client.recv()) == size + (version == 3)
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        client.ws.recv_data(control_frame=True)
    client.ws.shutdown()
    served.wait(lambda state: not any(state["leftovers"]))


def test_a_client_that_is_turned_out_gets_its_close_frame(serve: Serve) -> None:
    client = Sio(serve(socketio={"close_time": 0.2}))
    client.emit("kick")
    assert client.recv() == "41"
    assert client.closed() is None  # Engine.IO's has no code
