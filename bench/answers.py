"""Answers per second in a closed loop: a 40 KB JPEG in, LeNet's answer out, all on the same processors.

    python bench/answers.py [--seconds 4] [--rounds 3] [--check]

Each client has one frame under way and sends the next when the answer comes. Prints rate and latency, and what an
answer costs the server process and the workers in processor time: these two, and above all their ratio, hold on a
busy machine as well. `--check` asks that the server costs at most a third of what its workers do.
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
from ingest import HEADER, SRC, Client, masked

CLIENTS = (8, 32)
MOST_RATIO = 1 / 3


def photo() -> bytes:
    """A 640x480 JPEG of about 40 KB: shapes and texture, like a photograph."""
    random = np.random.default_rng(7)
    image = np.full((480, 640, 3), 128, np.float32)
    for octave in range(1, 7):
        noise = random.standard_normal((2**octave + 1, 2**octave + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC) * (60 / octave**1.7)
    grain = random.standard_normal(image.shape).astype(np.float32)
    best = b""
    for strength in np.linspace(0, 12, 40):
        pixels = np.clip(image + grain * strength, 0, 255).astype(np.uint8)
        best = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        if len(best) >= 40_000:
            break
    return best


def loop(port: int, clients: int, seconds: float, frame: bytes) -> list[float]:
    """Seconds from each frame to its answer, all clients together."""
    selector = selectors.DefaultSelector()
    begun: dict[Client, float] = {}
    for _ in range(clients):
        client = Client(port, log_in=False)
        selector.register(client.sock, selectors.EVENT_READ, client)
        begun[client] = time.perf_counter()
        client.sock.sendall(frame)
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _events in selector.select(0.1):
            client = key.data
            client.rest += client.sock.recv(65536)
            if b'42["prediction"' in client.rest and client.rest.endswith(b'"]'):
                now = time.perf_counter()
                took.append(now - begun[client])
                client.rest, begun[client] = b"", now
                client.sock.sendall(frame)
    for client in begun:
        client.sock.close()
    return took


@contextlib.contextmanager
def served() -> Iterator[tuple[psutil.Process, int]]:
    """A server with LeNet ready: its process and port."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SRC / "ImageServer.py"), "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off"]
        said = Path(folder, "said.txt")
        with said.open("wb") as output:
            server = subprocess.Popen(
                [*command, "-m", "lenet", "--data", folder], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            while "models ready: lenet" not in said.read_text():
                if server.poll() is not None:
                    raise SystemExit(said.read_text())
                time.sleep(0.1)
            yield psutil.Process(server.pid), int(said.read_text().partition("127.0.0.1:")[2].split()[0])
        finally:
            server.terminate()
            server.wait(20)


def measure(process: psutil.Process, port: int, clients: int, seconds: float, frame: bytes) -> tuple[float, ...]:
    """One round: answers a second, p50 and p99 in ms, µs an answer of server and workers, and the ratio of the two."""
    before = cost(process)
    took = sorted(loop(port, clients, seconds, frame))
    ours, theirs = (1e6 * (now - then) / len(took) for now, then in zip(cost(process), before, strict=True))
    p50, p99 = (1e3 * took[int(len(took) * share)] for share in (0.5, 0.99))
    return len(took) / seconds, p50, p99, ours, theirs, ours / theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--check", action="store_true", help="fail when the mark is missed")
    options = parser.parse_args()
    data = photo()
    frame = masked(1, HEADER) + masked(2, data)
    worst = 0.0
    with served() as (process, port):
        print(f"{len(data):,} bytes a frame, median of {options.rounds} rounds\n")
        columns = f"{'answers/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'server µs':>10} {'workers µs':>11} {'ratio':>6}"
        print(f"{'clients':>8} {columns}")
        for clients in CLIENTS:
            loop(port, clients, 1.0, frame)
            rows = [measure(process, port, clients, options.seconds, frame) for _ in range(options.rounds)]
            rate, p50, p99, ours, theirs, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
            worst = max(worst, ratio)
            times = f"{p50:>8.1f} {p99:>8.1f} {ours:>10.0f} {theirs:>11.0f} {ratio:>6.2f}"
            print(f"{clients:>8} {rate:>10,.0f} {times}", flush=True)
    if worst > MOST_RATIO:
        print(f"missed: the server costs {worst:.2f} of what its workers do, {MOST_RATIO:.2f} is the mark")
    return 1 if options.check and worst > MOST_RATIO else 0


def cost(process: psutil.Process) -> tuple[float, float]:
    """Seconds of processor time that the server and its workers have used."""
    times = [sum(each.cpu_times()[:2]) for each in (process, *process.children())]
    return times[0], sum(times[1:])


if __name__ == "__main__":
    sys.exit(main())
