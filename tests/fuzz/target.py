"""What is fuzzed: a parser, what it is fed with, and how much time and memory each byte of that may cost."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TRIES = 5
"""Runs of which the quickest counts, where one took too long: the machine may only have been busy."""
SLOW = 4.0
"""Times as long as on a quick machine that code may take: what is quadratic is found by its growth."""


class Defect(AssertionError):
    """A parser did what it must not. Whatever else leaves `Target.run` is one as well."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser.

    Attributes:
        name: a word or several with hyphens; also the folder of its corpus.
        run: feeds the parser with bytes, and holds what it says against what it must be. The errors that the parser
            documents are caught in it: whatever leaves it is a defect. The same bytes must do the same each time.
        seeds: inputs that lead far into the parser, proper and broken ones.
        covers: the modules of src/ that it leads through, from src/ on: "transport.websocket.frames".
        words: what the parser looks for, to be strewn in: separators, keywords, lengths at a limit.
        shape: makes an input that is nearly a proper one out of random choices. None: the seeds do.
        longest: bytes at which the parser, or what stands before it, refuses: as large as inputs become.
        seconds: that an empty input may take, by the processor's clock.
        byte_seconds: that each byte may add to that.
        memory: bytes that may be taken for an empty input.
        byte_memory: that each byte may add to that.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Sequence[bytes]
    covers: Sequence[str]
    words: Sequence[bytes] = ()
    shape: Callable[[random.Random], bytes] | None = None
    longest: int = 2**16
    seconds: float = 0.005
    byte_seconds: float = 2e-6
    memory: int = 2**18
    byte_memory: int = 64


def check(target: Target, data: bytes, slower: float = SLOW) -> None:
    """Run a target within its time. `slower`: how many times as long it may take here."""
    allowed = slower * (target.seconds + target.byte_seconds * len(data))
    seconds = took(target, data)
    for _ in range(TRIES - 1):
        if seconds <= allowed:
            return
        seconds = min(seconds, took(target, data))
    if seconds > allowed:
        raise Defect(f"{target.name}: {len(data)} bytes took {seconds * 1000:.1f} ms; {allowed * 1000:.1f} are allowed")


def check_memory(target: Target, data: bytes) -> None:
    """Run a target, which must have run with this input before, within its memory."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        target.run(data)
        taken = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    allowed = target.memory + target.byte_memory * len(data)
    if taken > allowed:
        raise Defect(f"{target.name}: {len(data)} bytes took {taken} bytes of memory; {allowed} are allowed")


def took(target: Target, data: bytes) -> float:
    """Seconds of the processor that a run takes."""
    begin = time.thread_time()
    target.run(data)
    return time.thread_time() - begin
