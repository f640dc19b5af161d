#!/usr/bin/env python3
"""The server's processor time for each megabyte of X-rays, by the size of the pieces in which they arrive.

    python bench/legacy_tcp.py [--check] [--megabytes 64] [--rounds 5]

A real server on this machine, one client, files of 8 MiB, Nagle's algorithm off. "Paced" pieces come one at a time,
each in a segment of its own with a pause behind it, as from a slow network; otherwise as fast as they can be written.
The reference is 64 KiB. The figures are medians over rounds in which the sizes take turns. With --check: exit code 1
when 4 KiB cost more than twice as much as 64 KiB.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import psutil
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import Server

FILE_BYTES = 8 * 2**20
MARK = 2.0
PIECES = ((64 * 1024, False), (4 * 1024, False), (64 * 1024, True), (4 * 1024, True), (1024, False), (64, False))


def send(client: OldClient, total: int, piece: int, paced: bool) -> None:
    """`total` bytes in pieces; paced ones at 40 MB a second at most."""
    data = bytes(piece)
    pause = piece / 40e6
    left = total
    while left:
        size = min(left, FILE_BYTES)
        assert client.command(b"FILE", str(size).ljust(10, "z").encode()) == b"00"
        due = time.perf_counter()
        for _ in range(size // piece):
            client.sock.sendall(data)
            if paced:
                due += pause
                while time.perf_counter() < due:
                    pass
        assert client.command(b"PRED") == b"1"  # read to the end
        left -= size


def measure(address: tuple[str, int], process: psutil.Process, megabytes: int, piece: int, paced: bool) -> float:
    """Milliseconds of processor time of the server for each megabyte."""
    total = max(FILE_BYTES, megabytes * 2**20 // FILE_BYTES * FILE_BYTES)
    if piece < 1024:
        total = FILE_BYTES
    with OldClient(socket.create_connection(address)) as client:
        before = process.cpu_times()
        send(client, total, piece, paced)
        after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) * 1000 / (total / 2**20)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the mark")
    parser.add_argument("--megabytes", type=int, default=64, help="for each figure and round (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    options = parser.parse_args()
    figures: dict[tuple[int, bool], list[float]] = {kind: [] for kind in PIECES}
    with tempfile.TemporaryDirectory() as folder, Server("--tcp-port", "0", data=Path(folder)) as server:
        address = "127.0.0.1", int(server.wait_for(r"legacy TCP listening on 127\.0\.0\.1:(\d+)")[1])
        server.ready()
        process = psutil.Process(server.process.pid)
        for _ in range(options.rounds):
            for kind in PIECES:
                figures[kind].append(measure(address, process, options.megabytes, *kind))
    medians = {kind: statistics.median(found) for kind, found in figures.items()}
    print(f"{'pieces':>18}  ms/MB   of 64 KiB")
    for (piece, paced), value in medians.items():
        name = (f"{piece // 1024} KiB" if piece >= 1024 else f"{piece} B") + (", paced" if paced else "")
        print(f"{name:>18}  {value:5.2f}   {value / medians[PIECES[0][0], paced]:5.2f}")
    ratio = max(medians[4096, paced] / medians[65536, paced] for paced in (False, True))
    print(f"4 KiB against 64 KiB: {ratio:.2f} (mark: at most {MARK:g})")
    return 1 if options.check and ratio > MARK else 0


if __name__ == "__main__":
    sys.exit(main())
