"""What is quadratic: inputs that grow, of which twice the bytes must not take four times as long."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.target import TRIES, Defect, Target, check, check_memory, took

UNITS = (
    b"a", b"0", b" ", b"\t", b"\x00", b"\xff", b"\r\n", b"\n", b",", b";", b":", b"=", b"&", b"%", b"\\", b'"', b"'",
    b"/", b".", b"-", b"[", b"{", b'{"a":', b"[],", b"\xf0\x9f\x98\x80", b"\xc3", b"%25", b"a=b&", b"a: b\r\n", b"\x1e",
    b"==",
)  # fmt: skip
"""What is repeated, beside the words of the target."""

STEEP = 2.8
"""Times as long for twice the bytes: 2 where time is linear, 4 where it is quadratic."""

LEAP = 24
"""Times as long for four times the bytes: 16 where time is quadratic. More than this is something that begins at a
length between them, or so slow that it does not get its time either."""

SHORT = 0.002
"""Seconds: what takes no longer than that at its longest is not worth a look."""

QUICK = 5e-9
"""Seconds for a byte: as long as copying it a few times, in steps as large as the processor's caches."""


class Pattern:
    """An input of any length: a unit again and again, in a seed."""

    def __init__(self, before: bytes, unit: bytes, behind: bytes) -> None:
        self.before, self.unit, self.behind = before, unit, behind

    def __repr__(self) -> str:
        return f"{self.before[-40:]!r} + n * {self.unit[:40]!r} + {self.behind[:40]!r}"

    def of(self, size: int) -> bytes:
        """It in about `size` bytes."""
        count = max(1, (size - len(self.before) - len(self.behind)) // len(self.unit))
        return self.before + self.unit * count + self.behind


def patterns(target: Target) -> Iterator[Pattern]:
    """Everything repeated by itself, and every unit at some places of every seed."""
    units = [*target.words, *UNITS]
    for unit in [*target.seeds, *units]:
        if unit:
            yield Pattern(b"", unit, b"")
    for seed in target.seeds:
        if len(seed) > 1024:
            continue
        for at in sorted({len(seed) * part // 8 for part in range(1, 9)}):
            for unit in units:
                yield Pattern(seed[:at], unit, seed[at:])


def check_growth(target: Target, pattern: Pattern, size: int) -> None:
    """Raises Defect where time grows faster than the input, or an input of `size` bytes costs too much."""
    large = pattern.of(size)
    check(target, large)
    times = [took(target, large)]
    if times[0] < SHORT:
        return
    check_memory(target, large)
    inputs = [large, pattern.of(size // 2), pattern.of(size // 4)]
    times = [min(took(target, data) for _ in range(2)) for data in inputs]
    for _ in range(TRIES):
        steep = times[0] > STEEP * times[1] and times[1] > STEEP * times[2]
        if not steep or times[0] > LEAP * times[2] or times[0] < max(SHORT, QUICK * size):
            return
        times = [min(best, took(target, data)) for best, data in zip(times, inputs, strict=True)]
    told = ", ".join(f"{len(data)} bytes {best * 1000:.1f} ms" for data, best in zip(inputs, times, strict=True))
    raise Defect(f"{target.name}: time grows faster than the input {pattern!r}: {told}")
