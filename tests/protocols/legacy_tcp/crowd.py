"""Many clients at once, in a process of their own: `python crowd.py HOST PORT COUNT`, standard library only.

Each sends a picture of 100 KB, chooses a model, asks and says goodbye, waiting for each reply as the clients of the
field do. Reads two pictures as lines of base64, a sick and a healthy one; prints as JSON how many clients got which
bytes for which, and the seconds from the first connection to the last answer.
"""

from __future__ import annotations

import base64
import contextlib
import json
import selectors
import socket
import sys
import time
from collections import Counter
from typing import Any

HEARD = (1, 2, 3, 4, 5, 7)
"""Bytes heard when each step is due."""


class Crowd:
    def __init__(self, address: tuple[str, int], pictures: list[bytes], count: int, patience: float) -> None:
        self.answers: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        start = time.monotonic()
        for number in range(count):
            sock = socket.create_connection(address, timeout=patience)
            sock.setblocking(False)
            data = pictures[number % len(pictures)]
            steps = [b"FILE", str(len(data)).ljust(10, "z").encode(), data + b"MODE", b"INCE", b"PRED", b"BYE!"]
            self._selector.register(sock, selectors.EVENT_READ, [number % len(pictures), steps, memoryview(b""), b""])
        while self._selector.get_map() and time.monotonic() < start + patience:
            for key, events in self._selector.select(1.0):
                self._turn(key.fileobj, events, key.data)
        self.seconds = time.monotonic() - start

    def _turn(self, sock: Any, events: int, state: list[Any]) -> None:
        kind, steps, sending, heard = state
        if events & selectors.EVENT_READ:
            data = b""
            with contextlib.suppress(ConnectionError):
                data = sock.recv(100)
            heard += data
            if not data:
                self.answers[f"{kind} {heard.decode()}"] += 1
                self._selector.unregister(sock)
                sock.close()
                return
            if steps and len(heard) == HEARD[-len(steps)]:
                sending = memoryview(steps.pop(0))
        if sending:
            with contextlib.suppress(BlockingIOError):
                sending = sending[sock.send(sending) :]
        state[2:] = sending, heard
        self._selector.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if sending else 0), state)


if __name__ == "__main__":
    both = [base64.b64decode(line) for line in sys.stdin]
    crowd = Crowd((sys.argv[1], int(sys.argv[2])), both, int(sys.argv[3]), 60.0)
    print(json.dumps({"answers": crowd.answers, "seconds": crowd.seconds}))
