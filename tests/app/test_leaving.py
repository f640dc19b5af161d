"""A server that leaves: who is there comes back elsewhere, one after the other; nobody else begins anything."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import PATIENCE, Camera, Server, picture, until
from websocket import ABNF, WebSocket, WebSocketBadStatusException, create_connection

from imageserver.app import leaving as leaving_module
from imageserver.app.leaving import Departure, spread

LEAVE_TIME = 3.0


class Fake:
    """A connection whose client waits for an answer until some moment."""

    def __init__(self, answered: float = 0.0) -> None:
        self.ended, self._answered = 0.0, answered

    def departure(self) -> Departure:
        return Departure(self._end, lambda: time.monotonic() < self._answered)

    def _end(self) -> None:
        assert not self.ended
        self.ended = time.monotonic()


def test_they_end_evenly_over_the_time_and_who_waits_for_an_answer_has_it_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving_module, "LAST_ANSWER", 0.35)
    begun = time.monotonic()
    quiet = [Fake() for _ in range(20)]
    soon, never = Fake(begun + 0.3), Fake(begun + PATIENCE)
    spread([one.departure() for one in (soon, never, *quiet)], 0.2)
    ended = [one.ended - begun for one in quiet]
    assert ended == sorted(ended)
    assert all(second >= number * 0.2 / 22 for number, second in enumerate(ended, start=2))
    assert soon.ended - begun >= 0.3
    assert never.ended - begun >= 0.35


def test_without_anybody_it_takes_its_time_all_the_same() -> None:
    begun = time.monotonic()
    spread([], 0.1)
    assert time.monotonic() - begun >= 0.1, "single requests still come until every proxy has noticed"


@pytest.fixture(scope="module")
def leaving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, object]]]:
    """A server that was told to stop, with who was connected before."""
    options = ("--leave-time", str(LEAVE_TIME), "--front-end", "a", "--tcp-port", "0", "--preload", "chest")
    with Server(*options, data=tmp_path_factory.mktemp("data")) as server, contextlib.ExitStack() as closing:
        server.wait_for("models ready: echo, chest")
        tcp = socket.create_connection(("127.0.0.1", tcp_port(server)), timeout=PATIENCE)
        found: dict[str, object] = {
            "/ws": open_websocket(server, "/ws", closing),
            "/live": open_websocket(server, "/live", closing),
            "camera": closing.enter_context(Camera(server)),
            "polling": closing.enter_context(Camera(server, transports=("polling",))),
            "tcp": closing.enter_context(OldClient(tcp)),
            "http": closing.enter_context(requests.Session()),
        }
        found["http"].get(server.url + "/health/live", timeout=PATIENCE)  # type: ignore[attr-defined]
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("leaving: 4 clients are told to come back within 3 seconds")
        yield server, found


def tcp_port(server: Server) -> int:
    return int(server.wait_for(r"legacy TCP listening on \S*:(\d+)")[1])


def open_websocket(server: Server, path: str, closing: contextlib.ExitStack) -> WebSocket:
    ws = create_connection(f"ws://127.0.0.1:{server.port}{path}", timeout=PATIENCE)
    closing.callback(ws.shutdown)
    return ws


def last_frame(ws: WebSocket) -> tuple[int, bytes] | None:
    """The close frame, None when there was none."""
    with contextlib.suppress(Exception):
        while True:
            opcode, data = ws.recv_data(control_frame=True)
            if opcode == ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2]), data[2:]
    return None


def test_what_a_leaving_server_does(leaving: tuple[Server, dict[str, object]]) -> None:
    """In one go: its time is short."""
    server, found = leaving
    begun = time.monotonic()
    camera, polling, tcp, session = (found[name] for name in ("camera", "polling", "tcp", "http"))
    assert isinstance(camera, Camera) and isinstance(polling, Camera)
    assert isinstance(tcp, OldClient) and isinstance(session, requests.Session)
    camera.send(picture(44))
    until(lambda: camera.predictions, "an answer to a frame that was sent in time")
    # Whoever asks is told at once, and newcomers are refused.
    assert server.get("/health/ready") == (503, b'{"error":"the server is stopping"}')
    for transport in ("polling", "websocket"):
        answer = session.get(f"{server.url}/socket.io/?EIO=4&transport={transport}", timeout=PATIENCE)
        assert (answer.status_code, answer.json()["message"]) == (503, "the server is stopping")
    for path in ("/ws", "/live"):
        with pytest.raises(WebSocketBadStatusException, match="503"):
            create_connection(f"ws://127.0.0.1:{server.port}{path}", timeout=PATIENCE)
    assert session.get(server.url + "/streams/events", timeout=PATIENCE).status_code == 503
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", tcp_port(server))) != 0
    # Single requests are answered, and their connections end, so that proxies open others elsewhere.
    answer = session.post(server.url + "/echo/classify", picture(33), timeout=PATIENCE)
    assert (answer.json()["label"], answer.headers["Connection"]) == ("33", "close")
    assert tcp.command(b"MODE", b"VGG!") == b"00", "who is connected goes on"
    assert time.monotonic() - begun < LEAVE_TIME, "this machine is too slow for the test"
    # All are gone in the end, and know that they may come back.
    assert last_frame(found["/ws"]) is None  # type: ignore[arg-type]
    assert last_frame(found["/live"]) == (1012, b"the server is stopping")  # type: ignore[arg-type]
    until(lambda: not camera.client.connected and not polling.client.connected, "the end of both")
    assert server.process.wait(PATIENCE) == 0
    assert time.monotonic() - begun < LEAVE_TIME + 5


def test_ids_begin_with_the_name_of_the_front_end(tmp_path: Path) -> None:
    with Server("--front-end", "kitchen2", data=tmp_path) as server:
        for generation in "34":
            answer = requests.get(f"{server.url}/socket.io/?EIO={generation}&transport=polling&b64=1", timeout=PATIENCE)
            opened = json.loads(answer.text[answer.text.index("{") : answer.text.index("}") + 1])
            assert opened["sid"].startswith("kitchen2."), opened
        with Camera(server) as camera:
            camera.ask(picture())
            (stream,) = requests.get(server.url + "/streams/", timeout=PATIENCE).json()
            assert stream["id"].startswith("kitchen2.")
            newest = requests.get(f"{server.url}/streams/{stream['id']}.jpg", timeout=PATIENCE)
            assert newest.content == picture()
