"""Clients of the relay: what counts as a command, and how often one may be heard."""

from __future__ import annotations

import pytest

from imageserver.protocols.snap.members import TextRate, commands


@pytest.mark.parametrize(
    "text", ["snap", "SNAP", "Snap", " snap\r\n", "\tsnap", "\0snap\0", "\ufeffsnap", "\u200bsnap\u2060", "\u017fnap"]
)
def test_what_a_device_may_take_for_snap_is_a_command(text: str) -> None:
    assert commands(text)
    assert commands(" " * 2**16 + text)


@pytest.mark.parametrize("text", ["", "snap!", "s nap", "snaps", "sna", "snap snap", "\uff53nap", "5nap", '"snap"'])
def test_every_other_text_is_none(text: str) -> None:
    assert not commands(text)


def test_a_second_of_texts_may_come_at_once_and_then_as_many_as_the_rate_says() -> None:
    now = [5.0]
    rate = TextRate(20, lambda: now[0])
    assert [rate.take() for _ in range(20)] == [0.0] * 20
    total, begun = 0, now[0]
    while now[0] < begun + 100:
        now[0] += rate.take()
        total += 1
    assert 20 * 100 - 5 <= total <= 20 * 100 + 5
    now[0] += 60
    assert [rate.take() for _ in range(20)] == [0.0] * 20
    assert rate.take() > 0
