"""Conversions that workers ask for: how those end that come to nothing. What comes of the others is convert/'s."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.inference.server.test_jail import green_until
from tests.running import alive

from imageserver.inference.server.jails import conversions
from imageserver.inference.server.jails.conversions import Conversions
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.shared import conversion_cache
from imageserver.transport import hub

MANIFEST = """
kind = "classification"
[input]
width = 8
height = 8
[output]
labels = ["a", "b"]
[runtime]
weights = "weights.npz"
"""


class Watched:
    """Conversions over a folder of models, and the processes that they have started."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models, self.cache, self.lines = folder / "models", folder / "cache", [""]
        self.models.mkdir()
        self.started: list[Any] = []
        process = conversions.ChildProcess

        def start(*arguments: Any, **options: Any) -> Any:
            self.started.append(process(*arguments, **options))
            return self.started[-1]

        monkeypatch.setattr(conversions, "ChildProcess", start)

    def over(self, limit: float = 60.0) -> Conversions:
        return Conversions(Jails([self.models], self.cache), self.lines.append, limit)

    def model(self, name: str, code: str = "") -> Path:
        folder = self.models / name
        folder.mkdir()
        (folder / "model.toml").write_text(MANIFEST)
        (folder / "model.py").write_text(code)
        (folder / "weights.npz").write_bytes(b"none")
        return folder


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    found = Watched(tmp_path, monkeypatch)
    yield found
    assert not any(alive(process.pid) for process in found.started)


def test_what_is_no_model_is_said_in_a_sentence(watched: Watched) -> None:
    folder = watched.models / "none"
    folder.mkdir()
    assert "model.toml: cannot be read" in watched.over().convert(folder)


def test_a_process_that_cannot_be_started_is_no_fault_of_the_cache(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversions, "ChildProcess", mock.Mock(side_effect=OSError(24, "Too many open files")))
    sentence = "no process can be started to convert it now (Too many open files); try again later"
    assert watched.over().convert(watched.model("some")) == sentence
    assert list((watched.models.parent / "cache").iterdir()) == []


def test_one_that_takes_too_long_is_ended_and_told(watched: Watched) -> None:
    assert watched.over(limit=0.01).convert(watched.model("slow")) == "converting took longer than 0.01 s"
    assert "conversion of slow is killed: it took longer than 0.01 s" in watched.lines


def test_two_that_want_the_same_wait_for_one_and_another_waits_its_turn(watched: Watched) -> None:
    found, errors = watched.over(), dict[str, str]()
    for number, name in enumerate(("one", "one", "other")):
        folder = watched.models / name
        folder.mkdir(exist_ok=True)
        hub.spawn(lambda key, folder: errors.update({key: found.convert(folder)}), f"{name} {number}", folder)
    most = 0

    def all_told() -> bool:
        nonlocal most
        most = max(most, sum(process.exit_text == "still running" for process in watched.started))
        return len(errors) == 3

    green_until(all_told)
    assert most == 1
    assert len(watched.started) == 2
    assert errors["one 0"] == errors["one 1"] != errors["other 2"]


def test_a_server_that_stops_ends_it(watched: Watched) -> None:
    found, errors = watched.over(), list[str]()
    folders = [watched.model(name) for name in ("one", "other")]
    for folder in folders:
        hub.spawn(lambda folder: errors.append(found.convert(folder)), folder)
    green_until(lambda: watched.started)
    found.stop()
    green_until(lambda: len(errors) == 2)
    assert errors == ["the conversion ended by signal SIGKILL", "the server is stopping"]


def test_one_that_somebody_kills_has_one_more_try(watched: Watched) -> None:
    found, errors = watched.over(), list[str]()
    folder = watched.model("one")
    hub.spawn(lambda: errors.append(found.convert(folder)))
    for count in (1, 2):
        green_until(lambda count=count: len(watched.started) == count)
        watched.started[-1].kill()
    green_until(lambda: errors)
    assert errors == ["the conversion ended by signal SIGKILL"]
    assert not list(watched.cache.glob(".converting-*"))


@pytest.mark.parametrize(
    ("made", "taken"),
    [
        ({"tiny-" + "0" * 24: ["model.xml", "report.json"]}, True),
        ({"tiny-" + "0" * 24: ["model.xml"], ".tiny.lock": None}, True),
        ({"other-" + "0" * 24: ["model.xml"]}, False),
        ({"tiny-0": ["model.xml"]}, False),
        ({"tiny-" + "0" * 24: None}, False),
        ({"tiny-" + "0" * 24: ["folder/model.xml"]}, False),
    ],
)
def test_no_conversion_makes_what_another_model_loads(tmp_path: Path, made: dict[str, Any], taken: bool) -> None:
    room, cache = tmp_path / "room", tmp_path / "cache"
    cache.mkdir()
    for name, inside in made.items():
        for file in inside or []:
            (room / name / file).parent.mkdir(parents=True, exist_ok=True)
            (room / name / file).write_text("made")
        if inside is None:
            room.mkdir(exist_ok=True)
            (room / name).write_text("no folder")
    if taken:
        conversion_cache.take_over(room, cache, "tiny")
    else:
        with pytest.raises(OSError, match="made something else"):
            conversion_cache.take_over(room, cache, "tiny")
    assert [path.name for path in cache.iterdir()] == (["tiny-" + "0" * 24] if taken else [])


def test_its_code_can_write_neither_models_nor_the_cache(watched: Watched) -> None:
    """The architecture of a network is somebody's code as well."""
    beside = watched.models / "planted"
    targets = [beside, watched.cache / "planted", watched.models / "curious" / "model.toml"]
    code = f"""
from pathlib import Path
refused = 0
for path in {json.dumps([str(target) for target in targets])}:
    try:
        Path(path).write_text("mine")
    except PermissionError:
        refused += 1
raise ImportError(f"{{refused}} of 3 refused")
"""
    said = watched.over(limit=110.0).convert(watched.model("curious", code))
    assert "3 of 3 refused" in said
    assert not beside.exists()
