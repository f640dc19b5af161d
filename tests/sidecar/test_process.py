"""A process beside the server: who asks it, what is answered when it is slow, gone or full."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from imageserver.errors import LimitExceeded, SettingError, SidecarLost
from imageserver.jail.rules import Jail
from imageserver.sidecar import process
from imageserver.sidecar.process import Sidecar, SidecarState
from imageserver.transport import hub

MODULE = "sidecar.program"
"""Without a `main`; the tests put their own program in its place."""

PROGRAM = """
import os, sys, time
sys.path.insert(0, {src!r})
import bootstrap
bootstrap.provide_package()
from imageserver.errors import LimitExceeded, SettingError
from imageserver.sidecar import program

def open_up(server, opening):
    if opening.get("fails"):
        raise SettingError("there is no driver")
    server.tell("ready", os.getpid())
    def answer(what, values):
        match what:
            case "echo":
                return values
            case "length":
                return len(values[0])
            case "rows":
                return iter(range(values[0]))
            case "sleep":
                time.sleep(values[0])
            case "wrong":
                raise SettingError("not so")
            case "full":
                raise LimitExceeded("enough", "max_tokens")
            case "broken":
                raise ZeroDivisionError
    return answer

sys.exit(program.run("of a test", open_up, 4))
"""


@pytest.fixture
def make(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from imageserver import bootstrap

    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(src=os.path.dirname(bootstrap.__file__)))
    command = bootstrap.command
    monkeypatch.setattr(
        bootstrap, "command", lambda module, *words, python: [python, str(path), *command(module, *words)[4:]]
    )
    monkeypatch.setattr(process, "PAUSES", (0.05, 0.2))
    made: list[Sidecar] = []

    def start(most: int = 10, slots: int = 0, **opening: Any) -> tuple[Sidecar, list[tuple[str, Any]]]:
        told: list[tuple[str, Any]] = []
        sidecar = Sidecar(
            "the test's", MODULE, Jail(enforced=False), {"op": "open", **opening},
            told=lambda *said: told.append(said), most=most, limit="users_queue", warn=lambda _line: None,
            slots=slots,
        )  # fmt: skip
        made.append(sidecar)
        sidecar.start()
        wait(lambda: told)
        return sidecar, told

    yield start
    for sidecar in made:
        sidecar.stop()


def wait(condition: Any) -> None:
    with hub.Timeout(60):
        while not condition():
            hub.sleep(0.01)


def test_what_is_asked_is_answered_whatever_it_is(make: Any) -> None:
    sidecar, told = make()
    assert told[0][0] == "ready"
    assert sidecar.ask("echo", 1, "ä", [None, 2.5], seconds=60) == [1, "ä", [None, 2.5]]
    assert sidecar.ask("length", "half \ud800 of a pair", seconds=60) == 16
    assert sidecar.ask("rows", 1001, seconds=60) == list(range(1001)) and sidecar.ask("rows", 0, seconds=60) == []
    with pytest.raises(SettingError, match="^not so$"):
        sidecar.ask("wrong", seconds=60)
    with pytest.raises(LimitExceeded) as full:
        sidecar.ask("full", seconds=60)
    assert full.value.limit == "max_tokens"
    with pytest.raises(SidecarLost, match="ZeroDivisionError"):
        sidecar.ask("broken", seconds=60)


def test_nobody_waits_longer_than_they_said_and_no_more_than_may(make: Any) -> None:
    sidecar, _told = make(most=1)
    with pytest.raises(SidecarLost, match="takes longer than 0.05 s"):
        sidecar.ask("sleep", 0.3, seconds=0.05)
    waiting = hub.spawn(sidecar.ask, "sleep", 0.3, 60)
    waiting.kill()
    asked = hub.spawn(lambda: sidecar.ask("sleep", 0.3, seconds=60))
    hub.sleep(0)
    with pytest.raises(LimitExceeded, match="too many wait"):
        sidecar.ask("echo", seconds=60)
    asked.wait()
    assert sidecar.ask("echo", 1, seconds=60) == [1], "a late answer to somebody else is nobody's"


def test_one_that_ends_is_started_again_and_who_waits_is_told(make: Any) -> None:
    sidecar, told = make()
    hub.spawn_later(0.1, os.kill, told[0][1], signal.SIGKILL)
    with pytest.raises(SidecarLost, match="has ended"):
        sidecar.ask("sleep", 30, seconds=60)
    assert told[1] == ("gone", None) and sidecar.state is SidecarState.PAUSING
    with pytest.raises(SidecarLost, match="not there"):
        sidecar.ask("echo", seconds=60)
    wait(lambda: len(told) == 3)
    assert sidecar.ask("echo", 1, seconds=60) == [1]


def test_one_that_says_nothing_any_more_is_killed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SILENT", 0.0)
    sidecar, told = make()
    with pytest.raises(SidecarLost):
        sidecar.ask("sleep", 30, seconds=0.05)
    wait(lambda: ("gone", None) in told)


def test_one_that_has_slots_and_answers_late_is_killed_before_it_is_asked_again(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would write its late answer where the next one's has come."""
    monkeypatch.setattr(process, "UNREAD", 0.05)
    sidecar, told = make(slots=1)
    arena = sidecar.arena
    with pytest.raises(SidecarLost, match="takes longer"):
        sidecar.ask("sleep", 30, seconds=0.05)
    with pytest.raises(SidecarLost):
        sidecar.ask("echo", 1, seconds=60)
    wait(lambda: len(told) == 3)
    assert sidecar.arena is not arena and sidecar.ask("echo", 1, seconds=60) == [1]


def test_an_answer_that_came_while_all_stood_still_is_read(make: Any) -> None:
    sidecar, told = make(slots=1)
    assert sidecar.ask("sleep", 0.3, seconds=0.05) is None
    assert sidecar.ask("echo", 1, seconds=60) == [1] and len(told) == 1


def test_one_that_cannot_work_is_not_started_again(make: Any) -> None:
    sidecar, told = make(fails=True)
    assert told[0] == ("failed", "there is no driver")
    wait(lambda: ("gone", None) in told)
    assert sidecar.state is SidecarState.FAILED
    with pytest.raises(SidecarLost, match="^there is no driver$"):
        sidecar.ask("echo", seconds=60)


def test_it_ends_when_it_is_told(make: Any) -> None:
    sidecar, told = make()
    sidecar.stop()
    assert not os.path.exists(f"/proc/{told[0][1]}"), "it was waited for"
    hub.sleep(0)
    assert sidecar.state is SidecarState.STOPPED and len(told) == 1, "nobody has to be told of that"
