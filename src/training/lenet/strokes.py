"""Handwritten digits drawn by rule: pen strokes through a few points, each drawing different from the last.

MNIST was written in the United States, so it has few crossed sevens and hardly a 1 with a flag or a foot.
Training mixes these drawings in, and the sample digits are made of them as well.

A variant is one way to write a digit: its strokes, each a list of points (x, y) from 0 to 1 with y downwards,
in the order the pen takes. A stroke whose list begins with `SHARP` has corners; any other is a smooth curve
through its points.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]
Stroke = tuple[bool, tuple[tuple[float, float], ...]]
Variant = tuple[Stroke, ...]


def _curve(*points: tuple[float, float]) -> Stroke:
    return True, points


def _line(*points: tuple[float, float]) -> Stroke:
    return False, points


_RING = (
    (0.55, 0.02),
    (0.2, 0.15),
    (0.08, 0.5),
    (0.2, 0.87),
    (0.5, 0.98),
    (0.82, 0.85),
    (0.92, 0.5),
    (0.8, 0.13),
    (0.52, 0.02),
)

VARIANTS: tuple[tuple[Variant, ...], ...] = (
    (  # 0: round, narrow, open at the top
        (_curve(*_RING),),
        (_curve(*((0.25 + x / 2, y) for x, y in _RING)),),
        (_curve((0.6, 0.06), (0.25, 0.12), (0.1, 0.5), (0.25, 0.9), (0.55, 0.97), (0.85, 0.8), (0.9, 0.4),
            (0.7, 0.1), (0.42, 0.02)),),
    ),
    (  # 1: bare, short flag, long flag, very long flag, curved flag, flag and foot, flat flags
        (_line((0.5, 0.0), (0.5, 1.0)),),
        (_line((0.32, 0.2), (0.52, 0.0), (0.52, 1.0)),),
        (_line((0.12, 0.42), (0.58, 0.0), (0.58, 1.0)),),
        (_line((0.05, 0.62), (0.62, 0.0), (0.62, 1.0)),),
        (_curve((0.08, 0.5), (0.35, 0.3), (0.6, 0.0)), _line((0.6, 0.0), (0.58, 1.0))),
        (_line((0.28, 0.22), (0.52, 0.0), (0.52, 1.0)), _line((0.25, 1.0), (0.8, 1.0))),
        (_line((0.15, 0.36), (0.55, 0.0), (0.55, 1.0)), _line((0.22, 1.0), (0.85, 1.0))),
        (_line((0.26, 0.17), (0.58, 0.0), (0.58, 1.0)),),
        (_line((0.08, 0.29), (0.62, 0.0), (0.62, 1.0)),),
        (_line((0.0, 0.4), (0.68, 0.0), (0.66, 1.0)),),
    ),
    (  # 2: straight foot, loop, swan
        (_curve((0.1, 0.22), (0.35, 0.02), (0.75, 0.08), (0.82, 0.32), (0.5, 0.68), (0.08, 0.98)),
            _line((0.08, 0.98), (0.95, 0.97))),
        (_curve((0.12, 0.2), (0.45, 0.0), (0.8, 0.18), (0.62, 0.55), (0.2, 0.92), (0.1, 0.85), (0.25, 0.76),
            (0.55, 0.92), (0.95, 0.92)),),
        (_curve((0.15, 0.3), (0.3, 0.05), (0.7, 0.03), (0.85, 0.3), (0.55, 0.62), (0.12, 0.95), (0.45, 0.9),
            (0.7, 0.97), (0.95, 0.88)),),
    ),
    (  # 3: round, flat top
        (
            _curve((0.12, 0.12), (0.45, 0.0), (0.8, 0.18), (0.68, 0.42), (0.38, 0.48)),
            _curve((0.38, 0.48), (0.75, 0.54), (0.88, 0.78), (0.55, 0.99), (0.1, 0.9)),
        ),
        (
            _line((0.12, 0.02), (0.85, 0.02), (0.42, 0.42)),
            _curve((0.42, 0.42), (0.8, 0.52), (0.88, 0.8), (0.52, 1.0), (0.08, 0.88)),
        ),
    ),
    (  # 4: open, open and slanted, closed, closed with a long stem
        (_line((0.15, 0.02), (0.1, 0.58), (0.92, 0.56)), _line((0.72, 0.1), (0.7, 1.0))),
        (_line((0.4, 0.0), (0.05, 0.6), (0.95, 0.58)), _line((0.72, 0.3), (0.62, 1.0))),
        (_line((0.66, 0.0), (0.05, 0.66), (0.95, 0.66)), _line((0.66, 0.0), (0.66, 1.0))),
        (_line((0.7, 1.0), (0.7, 0.0), (0.08, 0.62), (0.98, 0.6)),),
        (_curve((0.12, 0.05), (0.08, 0.4), (0.25, 0.55), (0.78, 0.48)), _line((0.8, 0.02), (0.76, 1.0))),
    ),
    (  # 5: two strokes, one stroke
        (
            _line((0.25, 0.04), (0.2, 0.45)),
            _curve((0.2, 0.45), (0.5, 0.38), (0.85, 0.55), (0.82, 0.85), (0.45, 1.0), (0.08, 0.88)),
            _line((0.25, 0.04), (0.88, 0.02)),
        ),
        (
            _line((0.9, 0.03), (0.25, 0.05), (0.16, 0.46)),
            _curve((0.16, 0.46), (0.55, 0.4), (0.88, 0.66), (0.6, 0.97), (0.06, 0.92)),
        ),
    ),
    (  # 6: curved, straight back
        (
            _curve(
                (0.72, 0.02), (0.35, 0.2), (0.12, 0.6), (0.25, 0.94), (0.6, 0.98), (0.85, 0.75), (0.62, 0.52),
                (0.3, 0.58), (0.15, 0.75)
            ),
        ),
        (_curve((0.5, 0.0), (0.2, 0.45), (0.15, 0.8), (0.45, 1.0), (0.82, 0.86), (0.75, 0.58), (0.42, 0.55),
            (0.18, 0.76)),),
    ),
    (  # 7: plain, curved, serif; the same crossed
        (_line((0.06, 0.04), (0.92, 0.04), (0.4, 1.0)),),
        (_curve((0.06, 0.08), (0.5, 0.05), (0.9, 0.06)), _curve((0.9, 0.06), (0.58, 0.5), (0.45, 1.0))),
        (_line((0.08, 0.2), (0.1, 0.04), (0.9, 0.04), (0.45, 1.0)),),
        (_line((0.06, 0.04), (0.92, 0.04), (0.4, 1.0)), _line((0.3, 0.52), (0.9, 0.5))),
        (_line((0.08, 0.18), (0.1, 0.04), (0.92, 0.05), (0.42, 1.0)), _line((0.28, 0.5), (0.95, 0.48))),
        (
            _curve((0.06, 0.12), (0.45, 0.06), (0.92, 0.04)),
            _curve((0.92, 0.04), (0.6, 0.45), (0.4, 1.0)),
            _line((0.25, 0.5), (0.88, 0.54)),
        ),
        (_line((0.1, 0.05), (0.85, 0.03), (0.5, 1.0)), _line((0.32, 0.46), (0.86, 0.44))),
    ),
    (  # 8: one stroke, two rings
        (
            _curve(
                (0.78, 0.12), (0.4, 0.0), (0.18, 0.2), (0.45, 0.45), (0.82, 0.72),
                (0.52, 1.0), (0.15, 0.78), (0.5, 0.48), (0.82, 0.22), (0.72, 0.06),
            ),
        ),
        (
            _curve((0.5, 0.0), (0.22, 0.1), (0.22, 0.36), (0.5, 0.46), (0.78, 0.34), (0.78, 0.1), (0.5, 0.0)),
            _curve((0.5, 0.46), (0.14, 0.6), (0.14, 0.88), (0.5, 1.0), (0.86, 0.88), (0.86, 0.6), (0.5, 0.46)),
        ),
    ),
    (  # 9: straight stem, curved tail, hooked tail
        (_curve((0.8, 0.12), (0.4, 0.0), (0.12, 0.25), (0.35, 0.5), (0.72, 0.4), (0.82, 0.12)),
            _line((0.82, 0.08), (0.76, 1.0))),
        (_curve((0.8, 0.15), (0.45, 0.0), (0.15, 0.2), (0.3, 0.48), (0.7, 0.42), (0.82, 0.15), (0.78, 0.55),
            (0.55, 1.0)),),
        (_curve((0.82, 0.14), (0.45, 0.0), (0.15, 0.24), (0.4, 0.5), (0.8, 0.3), (0.84, 0.2), (0.82, 0.65),
            (0.6, 0.96), (0.2, 0.9)),),
    ),
)  # fmt: skip


def points(stroke: Stroke, steps: int = 10) -> Floats:
    """The stroke as a dense polyline, float32 (n, 2): Catmull-Rom through a curve's points, or straight lines."""
    smooth, given = stroke
    p = np.array(given, np.float32)
    t = (np.arange(steps, dtype=np.float32) / steps)[None, :, None]
    a, b = p[:-1, None], p[1:, None]
    if not smooth or len(p) < 3:
        dense = a + (b - a) * t
    else:
        closed = bool(np.abs(p[0] - p[-1]).max() < 0.02)
        before = np.concatenate((p[-2:-1] if closed else p[:1], p[:-2]))[:, None]
        after = np.concatenate((p[2:], p[1:2] if closed else p[-1:]))[:, None]
        dense = 0.5 * (
            2 * a
            + (b - before) * t
            + (2 * before - 5 * a + 4 * b - after) * t**2
            + (3 * a - before - 3 * b + after) * t**3
        )
    return np.concatenate((dense.reshape(-1, 2), p[-1:])).astype(np.float32)


def draw(
    label: int,
    side: int,
    rng: np.random.Generator,
    variant: int | None = None,
    wobble: float = 1.0,
    width: float | None = None,
) -> Floats:
    """Ink of a freshly drawn `label` (0 to 9), float32 (side, side) from 0 to 1.

    `variant`: which of VARIANTS[label]; random when None. `wobble` scales how much the points, slant, width and
    pressure vary; 0 gives the bare table.
    """
    chosen = VARIANTS[label][int(rng.integers(len(VARIANTS[label])) if variant is None else variant)]
    slant = float(rng.normal(0, 0.16)) * wobble
    turn = float(rng.normal(0, 0.1)) * wobble
    wide = float(rng.uniform(0.45, 0.85))
    if label == 1:
        wide *= float(rng.uniform(0.45, 0.85))
    tall = 0.74
    pen = min(max(float(np.exp(rng.normal(np.log(0.085), 0.45 * wobble))), 0.025), 0.17) if width is None else width
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
    shift = rng.normal(0, 0.02, 2).astype(np.float32) * wobble
    ink = np.zeros((side, side), np.uint8)
    sub = 3  # fractional bits of cv2's coordinates
    for smooth, given in chosen:
        p = np.array(given, np.float32)
        moved = p + rng.normal(0, 0.028 * wobble, p.shape).astype(np.float32)
        if np.array_equal(p[0], p[-1]):
            moved[-1] = moved[0] + rng.normal(0, 0.03 * wobble, 2)
        line = (points((smooth, tuple(map(tuple, moved)))) - 0.5) * (wide, tall)
        line[:, 0] -= slant * line[:, 1]
        line = (line @ turned.T + shift + 0.5) * side
        pressure = (
            pen * side * (1 + 0.18 * wobble * np.sin(np.linspace(rng.uniform(0, 6), rng.uniform(0, 9), len(line))))
        )
        whole = np.round(line * 2**sub).astype(int)
        for start, end, thick in zip(whole[:-1], whole[1:], pressure[:-1], strict=True):
            cv2.line(
                ink, tuple(map(int, start)), tuple(map(int, end)), 255, max(1, round(float(thick))), cv2.LINE_AA, sub
            )
    return ink.astype(np.float32) / np.float32(255)
