"""The legacy TCP port of the whole server: with keys, beside slow clients, at the end."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.accounts.signing import sign
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import PATIENCE, ROOT, Server, picture, until


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
