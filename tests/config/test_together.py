"""Settings that contradict each other, and settings that have no effect beside others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imageserver.config import reading, together
from imageserver.config.reading import Gathered
from imageserver.config.table import TABLE
from imageserver.errors import SettingError


def gathered(folder: Path, words: str) -> Gathered:
    return reading.gather(words.split(), {}, folder, folder)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("-s --https-port 0", "give one of them."),
        ("-p 9000 --https-port 9000", "--https-port and -p are both 9000: "),
        ("-p 9000 --tcp-port 9000", "--tcp-port is 9000, which HTTP has: "),
        ("--cert a", "add -s, or --https-port N"),
        ("--key a", "add -s, or --https-port N"),
        ("-s --key a", "--key is given without --cert"),
        ("--redis redis://localhost", "--redis needs --front-end NAME"),
        ("--data a --shared ./a", "--shared and --data are one folder"),
    ],
)
def test_contradictions(tmp_path: Path, words: str, sentence: str) -> None:
    found = gathered(tmp_path, words)
    (said,) = together.faults(found.settings)
    assert sentence in said
    assert not found.faults, "a program that sees some of the settings does not judge them together"
    with pytest.raises(SettingError, match=re.escape(sentence)):
        reading.load(words.split(), pytest.fail)


@pytest.mark.parametrize(
    "words", ["", "-s", "--https-port 0", "-s --cert a", "-s --cert a --key b", "-p 0 --tcp-port 0"]
)
def test_no_contradictions(tmp_path: Path, words: str) -> None:
    assert not together.faults(gathered(tmp_path, words).settings)


@pytest.mark.parametrize(
    ("words", "unused", "beside"),
    [
        ("--user a:b --users c", "users", ""),
        ("--results-bytes 1M", "results-bytes", "--results -"),
        ("--audit-bytes 1M", "audit-bytes", "--audit a"),
        ("--audit-files 3", "audit-files", "--audit a"),
        ("--memory-strangers 1M", "memory-strangers", "-a"),
        ("--login-time 3", "login-time", "--tcp-authorized-keys a"),
        ("--login-pause 3 --login-attempts 0", "login-pause", "--login-attempts 1"),
        ("--shared-time 3", "shared-time", "--shared a"),
        ("--tcp-open", "tcp-open", "-a"),
        ("--tcp-ip ::1 --tcp-port off", "tcp-ip", "--tcp-port 0"),
        ("--redis-password a", "redis-password", "--front-end a --redis redis://localhost"),
        ("--redis-fps 3", "redis-fps", "--front-end a --redis redis://localhost"),
    ],
)
def test_what_has_no_effect(tmp_path: Path, words: str, unused: str, beside: str) -> None:
    found = gathered(tmp_path, words)
    (sentence,) = together.unused(TABLE, found.settings, found.places)
    assert sentence.startswith(f"--{unused} has no effect ")
    if beside:
        found = gathered(tmp_path, f"{words} {beside}")
        assert not together.unused(TABLE, found.settings, found.places)


def test_what_nobody_gave_is_not_unused(tmp_path: Path) -> None:
    found = gathered(tmp_path, "")
    assert not together.unused(TABLE, found.settings, found.places)
