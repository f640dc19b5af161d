"""No password, key or picture in any line that a server writes, whatever clients do wrong with them."""

from __future__ import annotations

import contextlib
import json
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
import requests
import websocket
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import PATIENCE, Camera, CheapServer, Server, until

from imageserver.accounts.database import ROLES, UserDB

PASSWORD, WRONG = "correct horse é battery", "wr0ng-guess/+?=&staple"
KEY, WRONG_KEY = "k3y-of-the-sessions/%", "another-k3y/+="
SECRETS = (PASSWORD, WRONG, KEY, WRONG_KEY)


def forms(secret: str) -> Iterator[str]:
    """How a secret could turn up in a line."""
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    yield repr(secret.encode())[2:-1]
    yield secret.encode().hex()
    for offset in range(3):  # wherever it stands in what is encoded
        yield b64encode(bytes(offset) + secret.encode())[4:-4].decode()


def chunks(data: bytes) -> Iterator[str]:
    """How a part of a picture could turn up."""
    encoded = b64encode(data).decode()
    yield from (encoded[at : at + 24] for at in range(0, len(encoded) - 24, 4))
    for at in range(len(data) - 10):
        piece = data[at : at + 10]
        yield from (repr(piece)[2:-1], piece.hex(), piece.decode("latin-1"))


def misuse_socketio(server: Server, picture: bytes) -> None:
    with Camera(server) as camera:
        assert camera.login("alice", PASSWORD)
        assert "label" in camera.ask(picture)
        assert "error" in camera.ask(picture[:200])
        camera.configure(model="nix")
        camera.client.emit("receiveImage", (picture, {"password": WRONG}, picture))
        camera.client.emit("receiveImage", {"image": picture})
        camera.client.emit("no such event", (PASSWORD, picture))
        camera.client.emit("frame", picture)
        camera.client.emit("session_start", picture)
        camera.client.emit("configure", {"model": picture, "key": KEY})
        camera.client.emit("configure", PASSWORD)
        camera.client.emit("authenticate", {"username": "alice", "password": WRONG})
        camera.client.emit("authenticate", ("alice", [WRONG]))
        camera.client.emit("authenticate", ("alice", WRONG, {"event": PASSWORD}))
        camera.configure(hz=0)
    with Camera(server) as camera:
        assert not camera.login("alice", WRONG)
        camera.send(picture)
    for auth in (
        {"key": WRONG_KEY},
        {"user": "alice", "password": WRONG},
        {"key": KEY},
        [PASSWORD],
        {"key": {"key": KEY}},
    ):
        polling = f"{server.url}/socket.io/?EIO=4&transport=polling"
        with requests.Session() as session:
            sid = json.loads(session.get(polling, timeout=PATIENCE).text[1:])["sid"]
            session.post(f"{polling}&sid={sid}", data="40" + json.dumps(auth), timeout=PATIENCE)
            assert session.get(f"{polling}&sid={sid}", timeout=PATIENCE).text, "in, refused or ended, it is answered"
            session.post(f"{polling}&sid={sid}", data="1", timeout=PATIENCE)
    for query in (
        f"EIO=3&key={quote(WRONG_KEY, safe='')}",
        f"EIO=3&key={quote(KEY, safe='')}",
        f"EIO=5&password={quote(PASSWORD)}",
    ):
        requests.get(f"{server.url}/socket.io/?transport=polling&{query}", timeout=PATIENCE)
    requests.post(f"{server.url}/socket.io/?transport=polling&EIO=4&sid={KEY}", data=picture, timeout=PATIENCE)


def misuse_http(server: Server, picture: bytes) -> None:
    text = b64encode(picture).decode()
    with requests.Session() as session:

        def ask(method: str, path: str, **options: object) -> None:
            session.request(method, server.url + path, timeout=PATIENCE, **options)

        for credentials in (("alice", PASSWORD), ("alice", WRONG), ("nobody", PASSWORD)):
            auth = requests.auth.HTTPBasicAuth(credentials[0], credentials[1].encode())
            ask("GET", f"/list_nn?password={quote(PASSWORD)}", auth=auth)
            ask("POST", "/echo/classify", auth=auth, json={"image": text})
            ask("POST", "/echo/classify", auth=auth, json={"image": text[:-3]})
            ask(
                "POST",
                "/echo/classify",
                auth=auth,
                data='{"image": "' + text,
                headers={"Content-Type": "application/json"},
            )
            ask("POST", "/crash/classify", auth=auth, data=picture, headers={"Content-Type": "image/png"})
            ask("POST", "/v2/models/echo/infer", auth=auth, json={"inputs": [{"name": text, "data": [PASSWORD]}]})
            ask("PUT", "/snippets/1/", auth=auth, data=picture)
            ask("PUT", "/snippets/1/", auth=auth, data=picture[:100])
            ask("PUT", "/snippets/1/", auth=auth, files={"file": (PASSWORD, picture[:300])})
            ask("GET", "/metrics", auth=auth)
        for header in (f"Bearer {KEY}", "Basic " + b64encode(PASSWORD.encode()).decode(), f"Basic {KEY}"):
            ask("GET", "/list_nn", headers={"Authorization": header})
    for header in (f"Authorization: Basic {b64encode(f'alice:{WRONG}'.encode()).decode()}", f"Cookie: {KEY}"):
        with contextlib.suppress(websocket.WebSocketException):
            websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws", header=[header], timeout=PATIENCE).close()


def misuse_sockets(server: Server, picture: bytes) -> None:
    """What is no HTTP, what is no TLS, and the legacy protocol."""
    secure = int(server.wait_for(r"https as well, on https://.*:(\d+)")[1])
    legacy = int(server.wait_for(r"legacy TCP listening on .*:(\d+)")[1])
    for port in (server.port, secure, legacy):
        for data in (
            picture,
            f"GET /list_nn HTTP/1.1\r\nAuthorization: {KEY}\r\nHost: a b\r\n\r\n".encode(),
            KEY.encode() * 100,
        ):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock, contextlib.suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
    with OldClient(socket.create_connection(("127.0.0.1", legacy))) as client:
        assert client.command(b"FILE", str(len(picture)).ljust(10, "z").encode()) == b"00"
        client.sock.sendall(picture)
        client.command(b"PRED")


@pytest.mark.parametrize("options", [(), pytest.param(("--log-json",), marks=pytest.mark.long)])
def test_nothing_of_them_is_in_what_a_busy_server_writes(tmp_path: Path, options: tuple[str, ...]) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (32, 32, 3), np.uint8)
    picture = cv2.imencode(".png", noise)[1].tobytes()
    users = UserDB(tmp_path / "users.db")
    users.add("alice", PASSWORD, ROLES)
    arguments = [
        "-a",
        "--log-level",
        "debug",
        "--session-key",
        KEY,
        "--https-port",
        "0",
        "--tcp-port",
        "0",
        "--login-attempts",
        "1000",
    ]
    with CheapServer(*arguments, *options, data=tmp_path) as server:
        server.ready()
        misuse_socketio(server, picture)
        misuse_http(server, picture)
        misuse_sockets(server, picture)
        server.wait_for("refused: unknown name or wrong password")
        until(lambda: server.get("/health/ready")[0] == 200, "readiness")
    written = server.text
    assert len(server.lines) > 10
    assert "Traceback" not in written
    for secret in SECRETS:
        for form in forms(secret):
            assert form not in written
    leaked = next((chunk for chunk in chunks(picture) if chunk in written), None)
    assert leaked is None
    key = next((tmp_path / "tls").glob("*key*")).read_text()
    assert not any(line in written for line in key.splitlines() if len(line) > 20)
