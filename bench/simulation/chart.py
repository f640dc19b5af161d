"""Lines in a picture, as SVG: a chart for docs/scale.md without a library that draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 36, 62
COLOURS = ("#0b6e99", "#c4560a", "#3a7d34", "#7a3e9d", "#555555")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")
"""Lines differ by more than their colour."""


@dataclass(frozen=True)
class Axis:
    """`name` says the unit. `marks`: the values that are written on it, the first and last of which are its ends."""

    name: str
    marks: Sequence[float]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 to 1 along the axis; beyond its ends is at its ends."""
        low, high = self.marks[0], self.marks[-1]
        value = min(max(value, low), high)
        if self.logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Series:
    """One line: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def write(
    path: Path, title: str, x: Axis, y: Axis, lines: Sequence[Series], marks: Sequence[tuple[float, str]] = ()
) -> None:
    """Draw lines, and upright marks with a word each, into a file."""

    def at(value: float, other: float) -> tuple[float, float]:
        across = LEFT + x.place(value) * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(HEIGHT - BOTTOM - y.place(other) * (HEIGHT - TOP - BOTTOM), 1)

    bottom, left = HEIGHT - BOTTOM, LEFT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{left}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for value in x.marks:
        across, _ = at(value, y.marks[0])
        parts.append(f'<text x="{across}" y="{bottom + 16}" text-anchor="middle">{value:,g}</text>')
    for value in y.marks:
        _, height = at(x.marks[0], value)
        parts.append(f'<path d="M{left} {height}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 6}" y="{height + 4}" text-anchor="end">{value:,g}</text>')
    for value, word in marks:
        across, _ = at(value, y.marks[0])
        parts.append(f'<path d="M{across} {TOP}V{bottom}" stroke="#999999" stroke-dasharray="3 3"/>')
        parts.append(f'<text x="{across + 4}" y="{TOP + 12}" fill="#555555">{escape(word)}</text>')
    parts.append(f'<path d="M{left} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="#333333"/>')
    parts.append(f'<text x="{left}" y="{TOP - 4}" fill="#333333">{escape(y.name)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{bottom + 32}" text-anchor="end">{escape(x.name)}</text>')
    for number, line in enumerate(lines):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        stroke = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        path_data = "L".join(f"{across} {height}" for across, height in (at(*point) for point in line.points))
        parts.append(f'<path d="M{path_data}" fill="none" {stroke}/>')
        start = left + number * (WIDTH - LEFT - RIGHT) // max(1, len(lines))
        parts.append(f'<path d="M{start} {HEIGHT - 12}h24" {stroke}/>')
        parts.append(f'<text x="{start + 30}" y="{HEIGHT - 8}">{escape(line.name)}</text>')
    parts.append("</svg>\n")
    path.write_text("\n".join(parts), encoding="utf-8")
