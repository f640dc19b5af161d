"""models/pulse/pos.py: from colours to a heart rate."""

import numpy as np
import pytest
from tests.generators.watching import open_model

pos = __import__("sys").modules[type(open_model("pulse")).__module__].pos

RATIOS = np.array([0.33, 0.77, 0.53]) / 0.77
SKIN = np.array([190.0, 135.0, 105.0])
SHARES = np.full(4, 0.25)


def colours(
    bpm: float, seconds: float = 12, noise: float = 0.0, light: float = 0.0, strength: float = 0.01, seed: int = 1
) -> np.ndarray:
    """(n, 4, 3) at pos.RATE: four regions with one pulse, noise of their own and one light."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * pos.RATE)) / pos.RATE
    beat = strength * np.sin(2 * np.pi * bpm / 60 * time + random.uniform(0, 6))
    lamp = 1 + light * np.sin(2 * np.pi * 1.1 * time)
    series = SKIN * (1 + beat[:, None, None] * RATIOS) * lamp[:, None, None]
    return np.repeat(series, 4, axis=1) + random.normal(0, noise, (len(time), 4, 3))


@pytest.mark.parametrize("bpm", [45, 61.3, 77.7, 100, 149.4, 175])
def test_the_rate_is_found_between_the_bins_of_the_spectrum(bpm: float) -> None:
    found = pos.estimate(colours(bpm), SHARES, 30)
    assert found.rate == pytest.approx(bpm, abs=0.3)
    assert found.quality > 0.8


def test_noise_has_no_quality() -> None:
    found = [pos.estimate(colours(80, strength=0, noise=0.3, seed=seed), SHARES, 30).quality for seed in range(40)]
    assert max(found) < 0.35
    assert np.median(found) < 0.1


def test_a_pulse_in_noise_has_less_quality_and_the_same_rate() -> None:
    clean, noisy = pos.estimate(colours(80), SHARES, 30), pos.estimate(colours(80, noise=0.6), SHARES, 30)
    assert noisy.rate == pytest.approx(80, abs=1)
    assert 0.35 < noisy.quality < clean.quality


def test_light_that_flickers_is_no_pulse() -> None:
    assert pos.estimate(colours(80, strength=0, light=0.05), SHARES, 30).quality < 0.1


def test_a_rhythm_that_differs_from_side_to_side_is_no_pulse() -> None:
    series = colours(80)
    opposite = 2 * SKIN - series
    swaying = np.stack([series[:, 0], opposite[:, 1], 1.2 * (series[:, 2] - SKIN) + SKIN, opposite[:, 3]], axis=1)
    assert pos.estimate(swaying, SHARES, 30).quality < 0.05


def test_a_series_that_never_changes_has_no_rate() -> None:
    assert pos.estimate(np.tile(SKIN, (360, 4, 1)), SHARES, 30) == pos.Estimate(0.0, 0.0)
    assert pos.estimate(np.zeros((360, 4, 3)), SHARES, 30) == pos.Estimate(0.0, 0.0)


def test_a_short_window_counts_for_less() -> None:
    short, long = (pos.estimate(colours(80, seconds), SHARES, 30).quality for seconds in (8, 12))
    assert short == pytest.approx(long * 8 / 12, rel=0.1)


def test_five_frames_a_second_never_give_a_rate_that_they_cannot_show() -> None:
    assert pos.estimate(colours(170), SHARES, 5).quality < 0.3


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_resampling_keeps_a_beat_that_was_seen_at_irregular_times(rate: int) -> None:
    random = np.random.default_rng(3)
    times = np.arange(12 * rate) / rate + random.uniform(-0.3, 0.3, 12 * rate) / rate
    hertz = 1.2
    found = pos.resample(times, np.sin(2 * np.pi * hertz * times)[:, None])[:, 0]
    grid = times[-1] - np.arange(len(found) - 1, -1, -1) / pos.RATE
    assert np.abs(found - np.sin(2 * np.pi * hertz * grid)).max() < {5: 0.35, 10: 0.08, 30: 0.003}[rate]
    assert len(found) == int((times[-1] - times[0]) * pos.RATE) + 1
