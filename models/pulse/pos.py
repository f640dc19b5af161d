"""From colours to a heart rate: plane-orthogonal-to-skin, spectrum, quality. Pure: arrays in, numbers out.

Source: W. Wang, A. den Brinker, S. Stuijk, G. de Haan, "Algorithmic Principles of Remote PPG", IEEE Trans. Biomed. Eng. 64(7), 2017, algorithm 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE = 30.0
"""Samples a second that every series is resampled to, so that one set of windows serves 5 to 30 frames a second."""

POS_WINDOW_S = 1.6
"""Just more than the longest beat, 42 a minute: shorter ones would cut it, longer ones follow light and motion less (section V of the paper)."""

SLOWEST, FASTEST = 42.0, 180.0
"""Beats a minute."""

_PADDED = 8192


def resample(times: Floats, values: NDArray[Any]) -> Floats:
    """`values` (n, channels) at rising `times` in s, as (m, channels) every 1 / RATE s: cubic Hermite, as smooth as the beat is.

    Linear interpolation would dampen 150 beats at 10 frames a second by a quarter, and differently from frame to frame.
    """
    steps = np.diff(times)[:, np.newaxis]
    slopes = np.diff(values, axis=0) / steps
    tangents = np.empty_like(values, dtype=np.float64)
    tangents[0], tangents[-1] = slopes[0], slopes[-1]
    tangents[1:-1] = (steps[1:] * slopes[:-1] + steps[:-1] * slopes[1:]) / (steps[1:] + steps[:-1])
    # Aligned to the end: the newest frame counts in full.
    grid = times[-1] - np.arange(int((times[-1] - times[0]) * RATE + 1e-6), -1, -1) / RATE
    left = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(times) - 2)
    step = steps[left]
    t = (grid - times[left])[:, np.newaxis] / step
    result: Floats = (
        (1 + 2 * t) * (1 - t) ** 2 * values[left]
        + t * (1 - t) ** 2 * step * tangents[left]
        + t**2 * (3 - 2 * t) * values[left + 1]
        + t**2 * (t - 1) * step * tangents[left + 1]
    )
    return result


def pulse_wave(colours: Floats) -> Floats:
    """`colours` (n, 3), mean RGB of the skin every 1 / RATE s: the pulse (n,), as a fraction of the skin's colour. n >= 48."""
    length = round(POS_WINDOW_S * RATE)
    windows = np.lib.stride_tricks.sliding_window_view(colours, length, axis=0)  # (n - length + 1, 3, length)
    normal = windows / np.maximum(windows.mean(axis=2, keepdims=True), 1e-9)
    first = normal[:, 1] - normal[:, 2]
    second = normal[:, 1] + normal[:, 2] - 2 * normal[:, 0]
    deviation = second.std(axis=1, keepdims=True)
    parts = first + np.where(deviation > 1e-12, first.std(axis=1, keepdims=True) / np.maximum(deviation, 1e-12), 0.0) * second
    parts = parts - parts.mean(axis=1, keepdims=True)
    total, counts = np.zeros(len(colours)), np.zeros(len(colours))
    for offset in range(length):
        total[offset : offset + len(parts)] += parts[:, offset]
        counts[offset : offset + len(parts)] += 1
    return total / counts


def spectrum(wave: Floats) -> tuple[Floats, Floats]:
    """Beats a minute, and the power at them: Hann window, zero-padded, in the wave's unit squared (a sine's peak is its amplitude squared)."""
    window = np.hanning(len(wave) + 2)[1:-1]
    power = (2 * np.abs(np.fft.rfft(wave * window, _PADDED)) / window.sum()) ** 2
    return np.fft.rfftfreq(_PADDED, 1 / RATE) * 60, power
