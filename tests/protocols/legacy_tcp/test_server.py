"""The legacy TCP port of the whole server: beside cameras, under a crowd, with keys, at the end."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.accounts.signing import sign
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import PATIENCE, ROOT, Camera, Server, picture, until

CROWD = 500


def address_of(server: Server) -> tuple[str, int]:
    return "127.0.0.1", int(server.wait_for(r"legacy TCP listening on 127\.0\.0\.1:(\d+)$")[1])


def connect(address: tuple[str, int]) -> OldClient:
    return OldClient(socket.create_connection(address, timeout=PATIENCE))


def test_the_line_stands_right_after_that_of_http(tmp_path: Path) -> None:
    with Server("--tcp-port", "0", data=tmp_path) as server:
        address_of(server)
        assert server.lines[1].startswith("legacy TCP listening on ")
        with connect(address_of(server)) as client:
            assert client.file(picture(200)) + client.command(b"MODE", b"INCE") + client.predict() == b"00000P"
            assert client.file(picture(20, suffix=".png")) + client.predict() == b"000N"
            assert client.file(b"") + client.predict() == b"005"
            assert client.file(picture()[:400]) + client.predict() in (b"005", b"000P", b"000N")
            assert client.bye() == b"0"


def test_off(tmp_path: Path) -> None:
    with Server("--tcp-port", "off", data=tmp_path) as server:
        server.ready()
        assert "legacy" not in server.text


def test_a_model_that_does_not_load_is_none(tmp_path: Path) -> None:
    with Server("--tcp-port", "0", "--preload", "chest-broken", data=tmp_path) as server:
        server.wait_for("models ready: echo")
        with connect(address_of(server)) as client:
            assert client.command(b"MODE", b"MYCN") == b"03"


def test_ensembles_load_at_the_start_after_the_default_model(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for folder in (ROOT / "tests/models/echo", ROOT / "models/xray-mycn"):
        shutil.copytree(folder, models / folder.name)
    manifest = (ROOT / "models/xray-ensemble/model.toml").read_text()
    (models / "one").mkdir()
    (models / "one/model.toml").write_text(re.sub(r"members = .*", 'members = ["xray-mycn"]', manifest))
    with Server("--tcp-port", "0", data=tmp_path, models=models) as server:
        server.wait_for("model one is ready")
        assert server.lines.index("models ready: echo") < len(server.lines) - 1
        assert not server.find("model xray-mycn is ready")


def test_with_auth_it_stays_on_this_machine_and_says_so(tmp_path: Path) -> None:
    with Server("--tcp-port", "0", "-a", "-i", "0.0.0.0", data=tmp_path) as server:
        address = address_of(server)
        server.wait_for("warning: legacy TCP commands carry no password.*--tcp-authorized-keys.*--tcp-open")
        with connect(address) as client:
            assert client.bye() == b"0"


def test_keys(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "keys").write_bytes(line + b" ward 3\n")
    with Server("--tcp-port", "0", "--tcp-authorized-keys", "keys", data=tmp_path) as server:
        with connect(address_of(server)) as client:
            assert client.command(b"FILE", b"MODE", b"AUTH") == b"660"
            blob = sign(key, client.read(32))
            client.send(str(len(blob)).encode().ljust(10))
            assert client.command(blob) == b"0"
            assert client.file(picture(200)) + client.command(b"MODE", b"INCE") + client.predict() == b"00000P"
        with connect(address_of(server)) as client:
            assert client.command(b"AUTH") == b"0"
            blob = sign(ed25519.Ed25519PrivateKey.generate(), client.read(32))
            client.send(str(len(blob)).encode().ljust(10) + blob)
            assert client.rest() == b"6"


def test_an_old_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "old.ini").write_text("[Server]\nserverName = 127.0.0.1\n[Port]\nport = 0\n")
    with (
        Server("--tcp-port", "0", "--tcp-config", "old.ini", data=tmp_path) as server,
        connect(address_of(server)) as client,
    ):
        assert client.bye() == b"0"


def test_a_signal_lets_a_running_model_answer(tmp_path: Path) -> None:
    with Server("--tcp-port", "0", "--preload", "chest-slow", data=tmp_path) as server:
        server.wait_for("models ready")
        with connect(address_of(server)) as client, connect(address_of(server)) as idle:
            assert client.file(picture(200)) + client.command(b"MODE", b"VGG!") + client.predict() == b"00000P"
            client.send(b"PRED")
            time.sleep(0.05)
            server.process.terminate()
            assert client.rest() in (b"0P", b"3")
            assert idle.rest() == b""


def crowd_beside(server: Server, film: Callable[[], None]) -> float:
    """Let the crowd in, call `film` again and again until it has gone; returns the seconds it took."""
    host, port = address_of(server)
    pictures = [
        base64.b64encode(picture(grey) + bytes(100_000)) for grey in (200, 20)
    ]  # what follows a JPEG's end does not count
    program = [sys.executable, str(ROOT / "tests/protocols/legacy_tcp/crowd.py"), host, str(port), str(CROWD)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
        assert crowd.stdin is not None
        assert crowd.stdout is not None
        crowd.stdin.write("".join(data.decode() + "\n" for data in pictures))
        crowd.stdin.close()
        while crowd.poll() is None:
            film()
        report = json.loads(crowd.stdout.read())
    assert report["answers"] == {"0 ?00000P0": CROWD // 2, "1 ?00000N0": CROWD // 2}, server.text
    return float(report["seconds"])


CROWDED = ("--tcp-port", "0", "--tcp-max-per-host", "0", "--preload", "chest")


@pytest.mark.alone
def test_five_hundred_at_once_beside_a_camera(tmp_path: Path) -> None:
    with Server(*CROWDED, data=tmp_path) as server, Camera(server.ready()) as camera:
        server.wait_for("models ready")
        crowd_beside(server, lambda: camera.ask(picture(50)) and None)
        assert camera.errors == []
        assert camera.predictions[-1]["dropped"] == 0


@pytest.mark.alone
@pytest.mark.long
def test_five_hundred_at_once_beside_a_camera_of_ten_hertz(tmp_path: Path) -> None:
    """It does not wait for answers: one that takes a tenth of a second can cost a frame. For a quiet machine."""
    with Server(*CROWDED, data=tmp_path) as server, Camera(server.ready()) as camera:
        server.wait_for("models ready")
        frame, sent = picture(50), 0

        def film() -> None:
            nonlocal sent
            camera.send(frame)
            sent += 1
            time.sleep(0.1)

        seconds = crowd_beside(server, film)
        until(lambda: camera.predictions and camera.predictions[-1]["seq"] == sent, "the last prediction")
        print(
            f"\n{CROWD} clients in {seconds:.2f} s; the camera's predictions took",
            sorted(answer["age_ms"] for answer in camera.predictions),
            "ms",
        )
        assert [answer["seq"] for answer in camera.predictions] == list(range(1, sent + 1))


def memory(server: Server) -> int:
    """Bytes of memory that the server process holds."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def test_files_cost_what_has_come_of_them_and_only_as_long_as_they_are_there(tmp_path: Path) -> None:
    with Server("--tcp-port", "0", "--tcp-max-per-host", "0", data=tmp_path) as server:
        address = address_of(server)
        server.ready()
        clients = [connect(address) for _ in range(200)]
        for client in clients:
            assert client.read(1) == b"?"
        before = memory(server)
        for client in clients:
            assert client.command(b"FILE", b"16777216zz") == b"00"
            client.send(b"x")
        with connect(address) as other:
            assert other.file(picture(200)) + other.command(b"MODE", b"INCE") + other.predict() == b"00000P"
        assert memory(server) - before < 25 * 2**20
        for client in clients:
            client.send(bytes(500_000))
        until(lambda: memory(server) - before > 90 * 2**20, "the bytes to arrive")
        for client in clients:
            client.sock.close()
        until(lambda: memory(server) - before < 30 * 2**20, "the memory to be given back")


def test_tiny_pieces_of_many_delay_nobody(tmp_path: Path) -> None:
    """Forty clients drip a byte at a time while one is served as usual."""
    with Server("--tcp-port", "0", "--tcp-max-per-host", "0", data=tmp_path) as server:
        address = address_of(server)
        drips = [connect(address) for _ in range(40)]
        for client in drips:
            client.send(b"FILE" + b"20000zzzzz")
        done = threading.Event()

        def drip() -> None:
            while not done.wait(0.01):
                for client in drips:
                    client.send(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            with connect(address) as client:
                assert client.command(b"MODE", b"INCE") == b"00"
                for grey, letter in ((200, b"P"), (20, b"N")) * 3:
                    assert client.file(picture(grey)) + client.predict() == b"000" + letter
        finally:
            done.set()
            dripping.join()
            for client in drips:
                client.sock.close()
