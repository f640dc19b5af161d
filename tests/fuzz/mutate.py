"""Inputs by chance: proper ones with something wrong in them. The same `random.Random` gives the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.fuzz.target import Target

NUMBERS = (
    0,
    1,
    2,
    9,
    10,
    125,
    126,
    127,
    128,
    255,
    256,
    4095,
    4096,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32,
    2**63,
    2**64,
)


def some_input(target: Target, random: Random, corpus: Sequence[bytes]) -> bytes:
    """An input for a target. `corpus`: those that were of interest so far, its seeds among them; not empty."""
    choice = random.random()
    if target.shape is not None and choice < 0.5:
        data = target.shape(random)
        return data if random.random() < 0.6 else changed(data, target, random)
    if choice < 0.9:
        return changed(random.choice(corpus), target, random)
    if choice < 0.95:
        first, second = random.choice(corpus), random.choice(corpus)
        return first[: random.randint(0, len(first))] + second[random.randint(0, len(second)) :]
    return random.randbytes(random.choice((1, 2, 3, 8, 40, 300)))


def changed(data: bytes, target: Target, random: Random) -> bytes:
    """`data` with a few changes."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        data = _change(data, target, random)
    return data


def _change(data: bytes, target: Target, random: Random) -> bytes:
    at = random.randint(0, len(data))
    end = min(len(data), at + random.choice((1, 1, 2, 4, 16, 100)))
    match random.randrange(7):
        case 0:
            return data[:at] + data[end:]
        case 1:
            return data[:at] + data[at:end] * random.choice((2, 3, 10)) + data[end:]
        case 2:
            return data[:at] + random.randbytes(end - at) + data[end:]
        case 3:
            return data[:at] + bytes([random.randrange(256)]) + data[end:]
        case 4:
            return data[:at] + b"%d" % random.choice(NUMBERS) + data[end:]
        case 5:
            other = random.randint(0, len(data))
            return data[:at] + data[min(at, other) : max(at, other)] + data[end:]
    word = random.choice(target.words) if target.words else bytes([random.randrange(128)])
    return data[:at] + word + (data[at:] if random.random() < 0.5 else data[end:])
