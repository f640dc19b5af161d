"""The whole attack on a real server: 48 senders with pictures that take seconds, and an honest program beside them."""

from __future__ import annotations

import http.client
import json
import struct
import threading
import zlib
from pathlib import Path

import pytest
from tests.running import Server, picture

ATTACKER = "127.0.0.2"
SENDERS = 48


def png(side: int, depth: int) -> bytes:
    """A black square with transparency."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer, row = zlib.compressobj(9), bytes(1 + side * 4 * depth // 8)
    rows = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, depth, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def classify(port: int, data: bytes, address: str = "127.0.0.1") -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100, source_address=(address, 0))
    try:
        connection.request("POST", "/faces/classify", data, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.parametrize(("depth", "statuses"), [(16, {415}), (8, {200, 503})])
def test_pictures_of_one_address_cost_nobody_else_anything(tmp_path: Path, depth: int, statuses: set[int]) -> None:
    """16 bits: refused by the header; 8 bits: 191 MiB decoded, just within the limit."""
    costly, honest = png(7071, depth), picture(90, 640, 480)
    with Server("--workers", "1", data=tmp_path, models=None, model="faces") as server:
        server.ready()
        workers = server.workers()
        seen: list[int] = []

        def attack() -> None:
            seen.extend(classify(server.port, costly, ATTACKER)[0] for _ in range(2))

        senders = [threading.Thread(target=attack) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        answered = 0
        while any(sender.is_alive() for sender in senders):
            status, body = classify(server.port, honest)
            assert (status, body["size"]) == (200, [640, 480])
            answered += 1
        assert answered
        assert classify(server.port, honest, ATTACKER)[0] == 200, "ordinary pictures of the same address go on"
        assert len(seen) == 2 * SENDERS
        assert set(seen) <= statuses
        assert server.get("/health/ready")[0] == 200
        assert set(workers) <= set(server.workers()), "no worker was lost"
        assert "new worker" not in server.text
