"""SIGTERM under load: what runs is answered, the server is gone within 5 s, and every real client comes back."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tests.faults import clients
from tests.faults.load import Cameras
from tests.faults.requests_at_doors import Requests
from tests.faults.test_killed import trainer
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import PATIENCE, TEST_MODELS, Camera, Server, alive, children, picture, processes, until
from websocket import ABNF, WebSocket, WebSocketConnectionClosedException, create_connection

PROMISE = (
    "running frames answered; clients told; exit 0 within 5 s; every real client back within 5 s of the new server"
)
ROW = "SIGTERM under load"
WITHIN = 5.0
"""Seconds."""
Tell = Callable[[str], None]


def stop(server: Server, number: signal.Signals = signal.SIGTERM) -> float:
    """Send the signal; returns how long it took the server to end, in seconds, with code 0 and nothing left."""
    found = children(server.process.pid)
    begun = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0
    took = time.monotonic() - begun
    until(lambda: not any(map(alive, found)), "the end of its processes")
    return took


def websocket(server: Server, path: str, closing: contextlib.ExitStack) -> WebSocket:
    ws = create_connection(f"ws://127.0.0.1:{server.port}{path}", timeout=PATIENCE)
    closing.callback(ws.shutdown)
    return ws


def last_frame(ws: WebSocket) -> str | None:
    """How the last text began that came before the end of the stream, which must be no close frame."""
    last = None
    with contextlib.suppress(WebSocketConnectionClosedException, ConnectionResetError):
        while True:
            opcode, data = ws.recv_data(control_frame=True)
            assert opcode == ABNF.OPCODE_TEXT, opcode
            last = data[:1].decode()
    return last


@contextlib.contextmanager
def ask_over_tcp(server: Server) -> Iterator[Callable[[], None]]:
    """A legacy TCP command that runs; what is given asserts that it was answered."""
    port = int(server.wait_for(r"legacy TCP listening on \S*:(\d+)")[1])
    with OldClient(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as client:
        assert client.command(b"MODE", b"VGG!") + client.file(picture(200)) == b"0000"
        client.send(b"PRED")

        def answered() -> None:
            assert client.rest() in (b"0P", b"3"), "answered, or told in time"

        yield answered


def received(server: Server) -> int:
    """Pictures that have come over REST."""
    found = re.search(r'frames_received_total\{protocol="rest"\} (\d+)', server.get("/metrics")[1].decode())
    return int(found[1]) if found else 0


@contextlib.contextmanager
def ask_over_http(server: Server) -> Iterator[Callable[[], None]]:
    """A request that runs; the same."""
    answers: list[requests.Response] = []

    def ask() -> None:
        answers.append(requests.post(server.url + "/slow/classify", picture(7), timeout=PATIENCE))

    thread = threading.Thread(target=ask)
    before = received(server)
    thread.start()
    until(lambda: received(server) > before, "the request to have come")

    def answered() -> None:
        thread.join(PATIENCE)
        assert answers, "an answer"
        assert answers[0].status_code in (200, 503), answers[0].text

    yield answered
    thread.join(PATIENCE)


@pytest.mark.fault(ROW, PROMISE)
def test_cameras_are_answered_or_told_and_come_back(tmp_path: Path, tell: Tell) -> None:
    with contextlib.ExitStack() as closing:
        options = ("--workers", "1", "--tcp-port", "0", "--preload", "chest,chest-slow,slow")
        first = closing.enter_context(Server(*options, data=tmp_path))
        first.wait_for("models ready: echo, chest, chest-slow, slow")
        cameras = closing.enter_context(Cameras(first.port, hz=10, reconnect=True)).settle()
        with Requests(first) as asking:
            until(lambda: asking.every_door >= 2, "answers at every door")
        sockets = [websocket(first, path, closing) for path in ("/ws", "/socket.io/?EIO=4&transport=websocket")]
        running = [closing.enter_context(ask(first)) for ask in (ask_over_tcp, ask_over_http)]
        took = stop(first)
        for answered in running:
            answered()
        assert [last_frame(ws) for ws in sockets] == [None, "0"], "no close frame, at which some clients stay away"
        before = cameras.figures()
        assert set(before.errors) <= {"the server is stopping"}
        with Server("-p", str(first.port), data=tmp_path) as second:
            listens = time.monotonic()
            until(lambda: cameras.look().connected == 4 and cameras.look().answered >= 8, "the cameras to come back")
            back = time.monotonic() - listens
            after = cameras.figures()
            assert second.find("Traceback") is None
    tell(f"exit 0 after {took:.1f} s; 4 cameras back {back:.1f} s after the new server, silence {after.silence:.1f} s")
    assert took < WITHIN
    assert back < WITHIN


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_every_real_client_comes_back(tmp_path: Path, tell: Tell) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(picture())
    options, models = trainer(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    options = ("--cors-origin", "*", *options[2:])
    with contextlib.ExitStack() as closing:
        first = closing.enter_context(Server(*options, data=data, models=models)).ready()
        programs: list[clients.Program] = []
        for name, command in clients.commands(first.port, file):
            if clients.is_here(command):
                programs.append(clients.Program(name, *command))
                closing.callback(programs[-1].end)
            else:
                tell(f"{name} is not installed here")
        begun = requests.post(first.url + "/lenet/train", timeout=PATIENCE)  # which the page follows until the end
        assert begun.status_code == 200, begun.text
        if clients.CHROMIUM is not None:
            encoded = base64.b64encode(picture()).decode()
            programs += closing.enter_context(clients.browser(first.port, encoded, tmp_path / "browser"))
        for program in programs:
            until(lambda program=program: program.up_after(0.0) is not None, f"{program.name}: {program.lines}")
        took = stop(first)
        gone = time.monotonic()
        closing.enter_context(Server("-p", str(first.port), *options, data=data, models=models))
        listens = time.monotonic()
        backs = {}
        for program in programs:
            up = until(lambda program=program: program.up_after(gone), f"{program.name} to come back: {program.lines}")
            backs[program.name] = max(0.0, up - listens)  # some are there before its line is read
    tell(f"exit 0 after {took:.1f} s; back after " + ", ".join(f"{name} {back:.1f} s" for name, back in backs.items()))
    assert took < WITHIN
    assert all(back < WITHIN for back in backs.values())


HANDSHAKE = "\r\n".join([
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", "Host: localhost", "Upgrade: websocket",
    "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + "A" * 22 + "==", "", "",
]).encode()  # fmt: skip
Situation = Callable[[Server, contextlib.ExitStack], None]


def connected(server: Server, closing: contextlib.ExitStack) -> socket.socket:
    return closing.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))


def thousand_connections(server: Server, closing: contextlib.ExitStack) -> None:
    """Most of them sessions of Socket.IO that read nothing, and some long polls."""
    for number in range(1000):
        sock = connected(server, closing)
        if number % 10:
            sock.sendall(HANDSHAKE)
            sock.recv(10)


def readers_of_nothing(server: Server, closing: contextlib.ExitStack) -> None:
    """They ask for far more than the kernel keeps for them."""
    for _ in range(30):
        sock = connected(server, closing)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
    for _ in range(5):
        sock = connected(server, closing)
        sock.sendall(b"PUT /snippets/1/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhalf")


def stopped_worker(server: Server, closing: contextlib.ExitStack) -> None:
    """A camera's frame runs on it."""
    (worker,) = processes(server, "inference.worker.main")
    camera = closing.enter_context(Camera(server))
    os.kill(worker, signal.SIGSTOP)
    camera.send(picture())


def training(server: Server, closing: contextlib.ExitStack) -> None:
    answer = requests.post(server.url + "/lenet/train", timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    events = requests.get(server.url + "/lenet/train/events", stream=True, timeout=PATIENCE)
    heard: list[bytes] = []

    def listen() -> None:
        with events:
            heard.extend(events.iter_lines(chunk_size=1))

    follower = threading.Thread(target=listen)
    follower.start()

    def told() -> None:
        follower.join(PATIENCE)
        text = b"\n".join(heard).decode()
        assert "ended with the server" in text and "retry: 1000" in text, text

    closing.callback(told)


def loading(server: Server, closing: contextlib.ExitStack) -> None:
    with contextlib.suppress(requests.Timeout):
        requests.post(server.url + "/hang/classify", data=picture(), timeout=0.5)


def hung_calls(server: Server, closing: contextlib.ExitStack) -> None:
    """A session's model sleeps for a minute."""
    from tests.protocols.session_client import Client

    client = closing.enter_context(Client(server))
    assert client.start()["success"]
    client.frame(252, 1)


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize(
    "situation",
    [thousand_connections, readers_of_nothing, stopped_worker, training, loading, hung_calls],
    ids=lambda function: function.__name__,
)
def test_it_ends_in_time_whatever_goes_on(
    tmp_path: Path, tell: Tell, situation: Situation, number: signal.Signals
) -> None:
    options, models = trainer(tmp_path)
    (models / "sleeper").symlink_to(TEST_MODELS / "sleeper")
    hang = models / "hang"
    hang.mkdir()
    (hang / "model.toml").write_text((TEST_MODELS / "echo" / "model.toml").read_text())
    (hang / "model.py").write_text("import time\nclass Model:\n    def __init__(self, *_):\n        time.sleep(60)\n")
    data = tmp_path / "data"
    data.mkdir()
    options = ("--workers", "1", "--max-per-address", "2000", "--session-models", "sleeper", *options[2:])
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(Server(*options, data=data, models=models)).ready()
        situation(server, closing)
        took = stop(server, number)
    tell(f"{situation.__name__.replace('_', ' ')}: {number.name} ends it after {took:.1f} s")
    assert took < WITHIN
    assert not list((data / "models").glob(".versions/*/*")), "nothing half of a training"


def refuses(server: Server) -> bool:
    """Whether nobody listens on the server's port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", server.port)) != 0


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_a_second_signal_ends_it_at_once(tmp_path: Path, tell: Tell) -> None:
    """One of the same second may be the first one, passed on by what runs the server; a later one is meant."""
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(Server("--workers", "1", data=tmp_path)).ready()
        stopped_worker(server, closing)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("SIGTERM: stopping")
        until(lambda: refuses(server), "newcomers to be refused, while a frame still runs")
        with socket.create_server(("127.0.0.1", server.port)):
            pass  # the next server may have the port already
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.2)  # within the first second it is the same wish
        assert server.process.poll() is None
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
        tell(f"a second SIGTERM ends it after {time.monotonic() - begun:.1f} s")
