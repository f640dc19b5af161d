"""Pictures that cost a worker seconds and gigabytes, and what an honest user gets meanwhile."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

from bench.hostile.target import Target, attack
from bench.hostile.wire import basic, request

SIDE = 7071
SAMPLE = Path(__file__).resolve().parents[2] / "clients" / "samples" / "photos"
AFTER = 30.0
"""Seconds after the attack for which the honest user goes on."""


def costly_png(side: int = SIDE, mark: int = 0) -> bytes:
    """A PNG of `side` x `side` with 16 bits a channel and alpha, in a few hundred KB. `mark` makes it another file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + side * 8)
    data = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    head = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    text = chunk(b"tEXt", b"n\0" + str(mark).encode())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + text + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Honest(threading.Thread):
    """Asks with an ordinary picture every half second, and is told by `stop` when to end."""

    def __init__(self, target: Target) -> None:
        super().__init__(daemon=True)
        self._target, self._ended = target, threading.Event()
        self.answers: Counter[str] = Counter()
        self.longest = 0.0
        self.last = ""

    def run(self) -> None:
        picture = next(iter(sorted(SAMPLE.glob("*.jp*g")))).read_bytes()
        while not self._ended.wait(0.5):
            begun = time.monotonic()
            try:
                status, body = self._target.ask("/faces/classify", picture)
                self.last = str(status) if status == 200 else f"{status} {body.decode(errors='replace')[:80]}"
            except OSError as error:
                self.last = type(error).__name__
            self.answers[self.last] += 1
            self.longest = max(self.longest, time.monotonic() - begun)

    def stop(self) -> None:
        self._ended.set()
        self.join()


@attack("pictures", "48 PNGs of 7071x7071, 16 bit with alpha, by REST, 8 at a time; beside them an honest user")
def pictures(target: Target) -> None:
    one = costly_png()
    target.seen[f"pictures of {len(one) / 1e3:.0f} KB"] += 1
    honest = Honest(target)
    honest.start()
    waiting = list(range(48))

    def send() -> None:
        while waiting:
            mark = waiting.pop()
            body = costly_png(mark=mark) if mark % 8 == 0 else one
            login = basic() if target.guarded else {}
            request(target, "POST", "/faces/classify", body, Content_Type="image/png", **login)

    begun = time.monotonic()
    threads = [threading.Thread(target=send, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    target.seen[f"all told after {time.monotonic() - begun:.0f} s"] += 1
    time.sleep(AFTER)
    honest.stop()
    for answer, count in honest.answers.items():
        target.seen[f"honest user: {answer}"] += count
    target.seen[f"honest user waited at most {honest.longest:.1f} s; at the end: {honest.last}"] += 1
    target.seen[f"/health/ready at the end: {target.ask('/health/ready')[0]}"] += 1
