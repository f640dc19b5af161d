"""From colours to a heart rate: plane-orthogonal-to-skin, spectrum, quality. Pure: arrays in, numbers out.

Source: W. Wang, A. den Brinker, S. Stuijk, G. de Haan, "Algorithmic Principles of Remote PPG",
IEEE Transactions on Biomedical Engineering 64(7), 2017: algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE = 30.0
"""Samples a second that every series is resampled to, so that one set of windows serves 5 to 30 frames a second."""

POS_WINDOW_S = 1.6
"""Longer than the longest beat, 42 a minute: a shorter window would cut it, a longer one lets more of light and
motion through."""

SLOWEST, FASTEST = 42.0, 180.0
"""Beats a minute."""

SLOWEST_SEEN = 30.0
"""Beats a minute from which power counts as something other than the pulse: sway and breath that reach up to it
make no rate of 45."""

SHARE_OF_NYQUIST = 0.9
"""Up to which part of half the frame rate a pulse can be told from its mirror image: 135 beats a minute at 5
frames a second."""

FAINT = (5e-4, 1e-3)
"""Effective value of a pulse, as a fraction of the skin's colour, from which quality rises, and from which it is full.

A pulse of 0.5 % in green has 2e-3. Without noise to blur them, the steps of 8 bits and of JPEG make rhythms of
up to 6e-4 of slow light."""

AGREE = (0.4, 0.75)
"""Between these values of `agreement` quality rises from none to full. Of noise in four regions 0.6 is usual at
its own highest peak."""

FULL_WINDOW_S = 12.0

_PADDED = 8192


@dataclass(frozen=True, slots=True)
class Estimate:
    """`rate`: beats a minute of the strongest rhythm, whatever it is worth; 0: there is none.

    `quality`: 0..1, see `estimate`.
    """

    rate: float
    quality: float


def resample(times: Floats, values: NDArray[Any]) -> Floats:
    """`values` (n, channels) at rising `times` in s, as (m, channels) every 1 / RATE s up to the last.

    Cubic Hermite, n >= 3.

    Linear interpolation would dampen 150 beats at 10 frames a second by a quarter, and differently from frame to frame.
    """
    steps = np.diff(times)[:, np.newaxis]
    slopes = np.diff(values, axis=0) / steps
    tangents = np.empty(values.shape)
    tangents[0], tangents[-1] = slopes[0], slopes[-1]
    tangents[1:-1] = (steps[1:] * slopes[:-1] + steps[:-1] * slopes[1:]) / (steps[1:] + steps[:-1])
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
    """The pulse (n,), as a fraction of the skin's colour.

    `colours` (n, 3): mean RGB of the skin every 1 / RATE s; n >= 48.
    """
    length = round(POS_WINDOW_S * RATE)
    windows = np.lib.stride_tricks.sliding_window_view(colours, length, axis=0)  # (n - length + 1, 3, length)
    normal = windows / np.maximum(windows.mean(axis=2, keepdims=True), 1e-6)
    first = normal[:, 1] - normal[:, 2]
    second = normal[:, 1] + normal[:, 2] - 2 * normal[:, 0]
    alpha = first.std(axis=1, keepdims=True) / np.maximum(second.std(axis=1, keepdims=True), 1e-12)
    parts = first + alpha * second
    parts -= parts.mean(axis=1, keepdims=True)
    # Overlap-add; every sample is divided by the number of windows it was in, so that the ends weigh as much as
    # the middle.
    total, counts = np.zeros(len(colours)), np.zeros(len(colours))
    for offset in range(length):
        total[offset : offset + len(parts)] += parts[:, offset]
        counts[offset : offset + len(parts)] += 1
    return total / counts


def spectrum(wave: Floats) -> tuple[Floats, Floats]:
    """Beats a minute, 0.22 apart, and the power at each: Hann window, zero-padded.

    A sine's peak is its amplitude squared.
    """
    window = np.hanning(len(wave) + 2)[1:-1]
    power = (2 * np.abs(np.fft.rfft(wave * window, _PADDED)) / window.sum()) ** 2
    return np.fft.rfftfreq(_PADDED, 1 / RATE) * 60, power


def estimate(colours: Floats, shares: Floats, frames_per_second: float) -> Estimate:
    """Heart rate from the colours of the regions of the skin.

    `colours` (n, regions, 3): mean RGB of each region every 1 / RATE s; `shares` (regions,): of the skin's area.

    quality = prominence * strength * agreement * length, each 0..1: how far the peak stands out, whether it is
    more than faint (FAINT), whether the regions beat together (0 up to AGREE[0], 1 from AGREE[1]), and the
    window's part of FULL_WINDOW_S, since chance finds a rhythm more easily in a short one.
    """
    wave = pulse_wave(np.tensordot(colours, shares / shares.sum(), axes=(1, 0)))
    rate, prominence, strength = strongest(wave, frames_per_second)
    if prominence <= 0:
        return Estimate(rate, 0.0)
    waves = np.stack([pulse_wave(colours[:, region]) for region in range(len(shares))])
    together = float(np.clip((agreement(waves, shares, rate) - AGREE[0]) / (AGREE[1] - AGREE[0]), 0, 1))
    present = float(np.clip((strength - FAINT[0]) / (FAINT[1] - FAINT[0]), 0, 1))
    return Estimate(rate, prominence * present * together * min(1.0, len(wave) / RATE / FULL_WINDOW_S))


def strongest(wave: Floats, frames_per_second: float) -> tuple[float, float, float]:
    """The highest peak from SLOWEST to FASTEST a minute, as far as the frame rate shows them.

    Returns its rate, its prominence 0..1, and its effective value.

    prominence = share * (1 - rival). `share`: the part of the power from SLOWEST_SEEN to FASTEST that lies
    within the peak and its first harmonic, less what would lie there if the power were spread evenly. `rival`:
    the highest other value over the peak's. Noise alone has a highest peak, too, but with a rival nearly as
    high.
    """
    beats, power = spectrum(wave)
    fastest = min(FASTEST, 30 * SHARE_OF_NYQUIST * frames_per_second)
    # Half the main lobe of a Hann window over these seconds.
    lobe = 120 * RATE / len(wave)
    peak = np.zeros(len(power), bool)
    # At the lower end the flank of slow light and motion may be the highest value, but it is no peak.
    peak[1:-1] = (power[1:-1] >= power[:-2]) & (power[1:-1] >= power[2:])
    allowed = (beats >= SLOWEST) & (beats <= fastest) & peak
    best = int(np.argmax(np.where(allowed, power, 0.0)))
    if power[best] <= 0 or not allowed[best]:
        return 0.0, 0.0, 0.0
    near = np.abs(beats - beats[best]) < lobe
    harmonic = np.abs(beats - 2 * beats[best]) < lobe
    counted = (beats >= SLOWEST_SEEN) & (beats <= FASTEST) | near
    inside = near | (harmonic & counted)
    even = inside.sum() / counted.sum()
    share = max(0.0, (power[inside].sum() / power[counted].sum() - even) / (1 - even)) if even < 1 else 0.0
    others = counted & ~near & ~harmonic
    rival = min(1.0, power[others].max() / power[best]) if others.any() else 0.0
    return _refine(beats, power, best), float(share * (1 - rival)), float(np.sqrt(power[best] / 2))


def agreement(waves: Floats, shares: Floats, rate: float) -> float:
    """0..1: how far `waves` (regions, n) beat together at `rate` a minute, weighted by `shares`.

    1: the same phase and height everywhere.

    Noise that is different in each region has about 1 over their number; so does sway, which brightens one side
    and darkens the other.
    """
    time = np.arange(waves.shape[1]) / RATE
    tone = np.hanning(waves.shape[1] + 2)[1:-1] * np.exp(-2j * np.pi * rate / 60 * time)
    beats = waves @ tone
    power = float((shares * np.abs(beats) ** 2).sum() / shares.sum())
    together = float(np.abs((shares * beats).sum() / shares.sum()) ** 2)
    return together / power if power > 0 else 0.0


def _refine(beats: Floats, power: Floats, best: int) -> float:
    """The top of the parabola through the peak's logarithm and its neighbours'; of a Hann window it is one, nearly."""
    if not 0 < best < len(power) - 1 or power[best - 1 : best + 2].min() <= 0:
        return float(beats[best])
    before, at, after = np.log(power[best - 1 : best + 2])
    curve = before - 2 * at + after
    offset = 0.5 * (before - after) / curve if curve < 0 else 0.0
    return float(beats[best] + np.clip(offset, -0.5, 0.5) * (beats[1] - beats[0]))
