"""Clients of all kinds that connect, stream and vanish, half of them without a word: nothing of them may stay."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
import websocket
from tests.transport.sio import PATH, Sio

Serve = Callable[..., Any]

FRAME = random.Random(1).randbytes(40_000)
FEWEST = 120
"""Clients in all, however slow the machine."""
LIMITS = {
    "ping_interval": 1,
    "ping_timeout": 1.5,  # no client is busy for so long, on a slow machine either
    "join_time": 2,
    "attachment_time": 1,
    "close_time": 0.3,
}


def over_websocket(served: Any, dice: random.Random) -> None:
    one = Sio(served, dice.choice((3, 4)))
    for _ in range(dice.randrange(20)):
        if dice.random() < 0.5:
            one.emit("quiet", data=FRAME)
        else:
            assert one.ask("echo", data=FRAME[:1000])[-1000:] == FRAME[:1000]
    if dice.random() < 0.2:
        one.ws.send("451-" + json.dumps(["quiet", {"_placeholder": True, "num": 0}]))  # and no attachment
    if dice.random() < 0.2:
        one.ws.sock.sendall(b"\x82\xff\0\0\0\0\0\1\0\0" + bytes(4) + bytes(1000))  # part of a long frame
    if dice.random() < 0.5:
        one.ws.close(timeout=1)
    elif dice.random() < 0.5:
        one.ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.ws.shutdown()


def over_polling(served: Any, dice: random.Random) -> None:
    version = dice.choice((3, 4))
    with requests.Session() as http:
        text = http.get(served.url(PATH, EIO=version, transport="polling"), timeout=10).text
        sid = json.loads(text[text.index("{") : text.index("}") + 1])["sid"]
        url = served.url(PATH, EIO=version, transport="polling", sid=sid)

        def post(packet: str) -> None:
            http.post(url, data=packet if version == 4 else f"{len(packet)}:{packet}", timeout=10)

        if version == 4:
            post("40")
        for _ in range(dice.randrange(5)):
            post('421["echo","x"]')
            http.get(url, timeout=10)
        if dice.random() < 0.5:
            post("1")
        elif dice.random() < 0.5:  # a poll that is given up
            with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
                sock.sendall(f"GET {url[url.index(PATH) :]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def over_tcp(served: Any, dice: random.Random) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
        begun = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
        sock.sendall(dice.choice((b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"rubbish\r\n\r\n", begun)))


def churn(served: Any, seconds: float, fewest: int, seed: int) -> int:
    """Run clients, one after the other, for so long, and so many at least; how many."""
    dice, count = random.Random(seed), 0
    end = time.monotonic() + seconds
    while count < fewest or time.monotonic() < end:
        dice.choice((over_websocket, over_websocket, over_polling, over_tcp))(served, dice)
        count += 1
    return count


def run_churn(served: Any, seconds: float, seed: int, threads: int = 4) -> int:
    counts: list[int] = []
    errors: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            counts.append(churn(served, seconds, FEWEST // threads, seed))
        except (AssertionError, OSError, ValueError, websocket.WebSocketException) as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(100 * seed + index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not errors, errors
    return sum(counts)


def settle(served: Any, before: dict[str, Any]) -> dict[str, Any]:
    """Wait until nothing is left of the clients; the state then."""

    def nothing_left(state: dict[str, Any]) -> bool:
        bare = state["descriptors"] <= before["descriptors"] and state["greenlets"] <= before["greenlets"] + 1
        return bare and not any(state["leftovers"])

    state: dict[str, Any] = served.wait(nothing_left, 30)
    return state


@pytest.mark.no_loop_probe("connections are counted")
@pytest.mark.parametrize(("warm_up", "seconds"), [
    pytest.param(1.0, 1.0, id="2-seconds"),
    pytest.param(20.0, 100.0, marks=[pytest.mark.long, pytest.mark.timeout(300)], id="2-minutes"),
    pytest.param(300.0, 1500.0, marks=[pytest.mark.long, pytest.mark.timeout(2400)], id="30-minutes"),
])  # fmt: skip
def test_churn(serve: Serve, warm_up: float, seconds: float) -> None:
    """No socket, room, green thread or descriptor stays, and once warm the resident memory stays flat within 5 %."""
    served = serve(socketio=LIMITS, http={"header_time": 1, "body_grace": 1, "keep_alive_time": 60})
    before = served.state()
    run_churn(served, warm_up, 1)
    warm = settle(served, before)
    run_churn(served, seconds, 2)
    after = settle(served, before)
    assert after["resident"] <= warm["resident"] * 1.05
