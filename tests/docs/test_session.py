"""The reader of tests/docs/session.py notices what a person would notice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.docs import session
from tests.docs.pages import Block
from tests.docs.scenes import Scene
from tests.docs.session import Broken, Session, Terminal

ASKS = "read -r -s -p 'Password: ' word < /dev/tty; echo; echo \"it is $word\""


@pytest.fixture(autouse=True)
def _stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is no server and runs until Ctrl-C."""
    monkeypatch.setitem(session.ENDLESS, r"cat -$", "^up")


def page(*texts: str, language: str = "sh", file: str = "") -> list[Block]:
    return [Block("docs/none.md", 1, language, f"{text}\n", file) for text in texts]


def test_blocks_are_one_session(tmp_path: Path) -> None:
    blocks = [*page("one", file="folder/a.txt", language="text"), *page("cat folder/a.txt", ASKS)]
    Session(tmp_path, Scene()).play([*blocks, *page("it is …", language="output")])
    Session(tmp_path, Scene()).play(
        [*page("echo 'dark 99.3% (4 ms)'"), *page("dark 100.0% (12 ms)", language="output")]
    )


@pytest.mark.parametrize(
    ("blocks", "sentence"),
    [
        (page("false\ntrue"), "ends with 1"),
        (page("echo 7 of 9") + page("8 of nine", language="output"), "not printed: 8 of nine"),
        (page("curl -H 'Authorization: Bearer ist_…' localhost"), "nothing before has printed"),
        (page("make run\necho after"), "nobody comes past 'make run'"),
    ],
)
def test_what_does_not_work_is_told(tmp_path: Path, blocks: list[Block], sentence: str) -> None:
    with pytest.raises(Broken, match=sentence):
        Session(tmp_path, Scene()).play(blocks)


@pytest.mark.parametrize(("text", "sentence"), [("sleep 60", "does not end within 0.2 s"), ("cat -", "in vain")])
def test_nobody_waits_for_ever(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(Broken, match=sentence):
        Session(tmp_path, Scene(patience=0.2)).play(page(text))


def test_a_program_that_goes_on_is_stopped_by_its_terminal(tmp_path: Path) -> None:
    terminal = Terminal("trap 'echo ended; exit 3' INT; echo up; while :; do read -r -t 60 || true; done", tmp_path)
    try:
        session.until(lambda: "up" in terminal.text, "its first line")
        terminal.interrupt()
        assert (terminal.status(), terminal.text.splitlines()[-1]) == (3, "^Cended")
    finally:
        terminal.close()
    assert not [name for name in os.listdir("/proc") if name == str(terminal._process.pid)]
