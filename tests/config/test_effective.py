"""`--print-config`: what it writes says where each value comes from, and is read again as the same settings."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from imageserver.config import effective, reading, table
from imageserver.config.table import Settings
from imageserver.errors import PrintAsked, SettingError

Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads settings in an empty folder."""
    for name in ("here", "project"):
        (tmp_path / name).mkdir()
    return lambda *words, **variables: reading.read(words, variables, tmp_path / "here", tmp_path / "project")


def printed(read: Read, *words: str, **variables: str) -> str:
    with pytest.raises(PrintAsked) as asked:
        read(*words, "--print-config", **variables)
    return str(asked.value)


def again(read: Read, text: str, folder: Path) -> Settings:
    """The settings that a file with this text gives."""
    (folder / "again.toml").write_text(text)
    found = read("--config", str(folder / "again.toml"))
    return dataclasses.replace(found, config=None)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "-a -p 0 --no-jail --https-port 8443 -i ::1",
        "--tcp-port off --results - --audit audit.jsonl --data state --tcp-ip 10.0.0.1",
        "--merge-deadline 1.23456789 --hz 7.123456789 --max-frame-bytes 1234567 --login-time 12345 --body-grace 250ms",
        "--merge-deadline .00001 --memory-budget 0",
        "--preload a,b --session-models c --trusted-proxy 10.0.0.0/8,::1 --cors-origin * --server-name *.example.org",
        "--cors-origin null --cors-origin https://a.example",
        '--model "a\\"b" --data sp\u00e4t"er#\x7f',
    ],
)
def test_what_is_written_is_read_again(read: Read, tmp_path: Path, words: str) -> None:
    first = read(*words.split())
    assert again(read, printed(read, *words.split()), tmp_path) == first


def test_every_setting_is_there_once(read: Read) -> None:
    lines = printed(read).splitlines()
    for row in table.TABLE:
        found = [line for line in lines if line.removeprefix("# ").partition(" ")[0] == row.key]
        assert len(found) == 1 and found[0].endswith("  # default"), row.key


def test_each_value_says_where_it_comes_from(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("hz = 3\nport = 1\n")
    (tmp_path / "here" / ".env").write_text(f"IMAGESERVER_CONFIG={tmp_path}/a.toml\nIMAGESERVER_MODEL=lenet\n")
    text = printed(read, "-p9000", IMAGESERVER_AUTH="yes")
    env = tmp_path / "here" / ".env"
    for line in (
        "port = 9000  # command line",
        "auth = true  # environment",
        f'model = "lenet"  # file {env}',
        f"hz = 3  # file {tmp_path}/a.toml",
        'ip = "0.0.0.0"  # default',
        f'# config = "{tmp_path}/a.toml"  # file {env}',
        "# results is not set: none  # default",
    ):
        assert f"\n{line}\n" in text, line
    assert tomllib.loads(text)["hz"] == 3


def test_secrets_are_not_shown(read: Read) -> None:
    text = printed(read, "--user", "alice:hush", IMAGESERVER_SESSION_KEY="sesame")
    assert "hush" not in text and "sesame" not in text
    assert "\n# user is set, and not shown  # command line\n" in text
    assert "\n# session-key is set, and not shown  # environment\n" in text
    assert "\n# session-key is not set  # default\n" in printed(read)


def test_a_place_that_would_end_the_comment_does_not(read: Read, tmp_path: Path) -> None:
    """A file may have any name."""
    odd = tmp_path / "a\nport = 7\n.toml"
    odd.write_text("hz = 3\n")
    assert again(read, printed(read, f"--config={odd}"), tmp_path) == read("--hz", "3")


def test_a_path_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    settings = Settings(results=tmp_path / "\udcff")
    text = effective.as_toml(table.TABLE, settings, {})
    assert f'\n# results = "{tmp_path}/\\udcff"' in text
    tomllib.loads(text)


def test_faults_are_told_in_its_place(read: Read) -> None:
    with pytest.raises(SettingError, match="--hz is 'fast'"):
        read("--print-config", "--hz", "fast")
