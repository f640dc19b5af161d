#!/usr/bin/env python3
"""The age of predictions when many sessions run at once: from a frame's receipt to its merged prediction.

    python bench/sessions.py [--check] [--sessions 20] [--hz 10] [--seconds 20]

A real server on this machine with two models that sleep 20 ms a frame, one that wants every frame and one that wants
the newest; each session is a connection of its own. Every frame carries a number in its pixels, which the models tell:
an answer out of order or of another session's frame ends the measurement. Two figures, by the server's clock and by the
clients' (frame sent to prediction read). The reference is one session alone, since nothing can be faster than a model's
own sleep. With --check: exit code 1 when the 99th percentile of many is more than five times that of one.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.protocols.session_client import Client
from tests.running import Server, picture

MARK = 5.0
NUMBERS = 200
FRAMES = [picture(number, 320, 240, ".png") for number in range(NUMBERS)]


class Watched(Client):
    """A client that films a series of numbers of its own, and notes when each was answered."""

    def __init__(self, server: Server, first: int) -> None:
        super().__init__(server)
        self.first = first
        self.acknowledged: list[float] = []
        self.round_trips: list[float] = []
        self.sent_at: dict[int, float] = {}
        self.client.on("prediction", self.hear)

    def hear(self, text: str) -> None:
        prediction = json.loads(text)
        self.predictions.append(prediction)
        if "frame" in prediction:
            self.round_trips.append(time.perf_counter() - self.sent_at[prediction["seq"]])

    def film(self, hz: float, seconds: float) -> None:
        began = time.perf_counter()
        for seq in range(1, round(hz * seconds) + 1):
            time.sleep(max(0.0, began + seq / hz - time.perf_counter()))
            self.sent_at[seq] = time.perf_counter()
            answer = self.call("frame", struct.pack("<Q", seq) + FRAMES[(self.first + seq) % NUMBERS])
            self.acknowledged.append(time.perf_counter() - self.sent_at[seq])
            assert answer["success"], answer

    def check(self) -> int:
        """How many frames were answered; AssertionError for one out of order, or of another session's frame."""
        frames = [one for one in self.predictions if "frame" in one]
        assert [one["seq"] for one in frames] == sorted(one["seq"] for one in frames), "out of order"
        for one in frames:
            for model in ("sleeper", "echoer"):
                # A late answer comes with a later prediction. The sessions' numbers are ten apart, so the ranges are.
                if f"{model}_number" in one:
                    earlier = {(self.first + seq) % NUMBERS for seq in range(one["seq"] - 8, one["seq"] + 1)}
                    assert one[f"{model}_number"] in earlier, "mixed up"
        return len(frames)


def percentile(values: list[float], rank: float) -> float:
    """In milliseconds, by the nearest-rank method."""
    return sorted(values)[math.ceil(rank * len(values)) - 1] * 1000


def measure(server: Server, sessions: int, hz: float, seconds: float) -> float:
    """Run so many sessions and print their figures; the 99th percentile of the age by the server's clock, in ms."""
    clients = [Watched(server, index * 10) for index in range(sessions)]
    try:
        for client in clients:
            client.start()
        threads = [threading.Thread(target=client.film, args=(hz, seconds)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in clients:
            client.end()
        last = [client.last_word() for client in clients]
        answered = sum(client.check() for client in clients)
        ages = [one["age_ms"] / 1000 for client in clients for one in client.predictions if "frame" in one]
        for word in last:
            assert word["sleeper_frames"] == round(hz * seconds), "a frame of the model that wants all is missing"
        trips = [value for client in clients for value in client.round_trips]
        acknowledged = [value for client in clients for value in client.acknowledged]
    finally:
        for client in clients:
            client.__exit__()
    for what, values in (("age", ages), ("round trip", trips), ("acknowledgement", acknowledged)):
        figures = "  ".join(f"p{rank * 100:g} {percentile(values, rank):6.1f} ms" for rank in (0.5, 0.9, 0.99))
        print(f"{sessions:>3} sessions  {what:<16} {figures}  max {max(values) * 1000:6.1f} ms")
    frames = round(sessions * hz * seconds)
    print(f"{sessions:>3} sessions  {answered} of {frames} frames answered, in order, none mixed up")
    return percentile(ages, 0.99)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the mark")
    parser.add_argument("--sessions", type=int, default=20, help="(default 20)")
    parser.add_argument("--hz", type=float, default=10.0, help="frames a second of each (default 10)")
    parser.add_argument("--seconds", type=float, default=20.0, help="(default 20)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Server("--session-models", "sleeper,echoer", data=Path(folder)) as server,
    ):
        server.ready()
        measure(server, 8, options.hz, 1.0)  # every lane of the models is made
        print("measured:")
        one = measure(server, 1, options.hz, options.seconds)
        many = measure(server, options.sessions, options.hz, options.seconds)
    print(f"p99 of many against one: {many / one:.2f} (mark: at most {MARK:g})")
    return 1 if options.check and many / one > MARK else 0


if __name__ == "__main__":
    sys.exit(main())
