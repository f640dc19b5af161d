"""Every block of the pages is typed, run or read by a test, or stands in the list of those that cannot be, with why."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.docs.pages import BELOW, NAVIGATION, Block, blocks, prose
from tests.docs.scenes import COPIED, ELSEWHERE, ENDLESS, SCENES
from tests.docs.uses import PLAYED, Use, use_of
from tests.running import ROOT

from imageserver.config import reading
from imageserver.inference.shared import manifest
from imageserver.protocols.legacy_tcp.port import read_config

PAGES = [*NAVIGATION, *BELOW]
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMAND = re.compile(
    r"^ *(\$ |(sudo|python3?|curl|make|docker|pip|pipx|uvx|git|imageserver|cp|mkdir|clients/\S+\.py) )", re.MULTILINE
)
LEAST = """
kind = "classification"
input = { width = 8, height = 8 }
output = { labels = ["a", "b"] }
runtime = { weights = "network.keras" }
"""
"""A manifest for those that show a table of one alone."""


INDENTED = re.compile(r"\n\n {4,}" + COMMAND.pattern.removeprefix("^ *"), re.MULTILINE)


def read_as(use: Use) -> list[object]:
    """The blocks with which a test does that."""
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in BLOCKS if use_of(block) is use]


def test_something_is_done_with_every_block() -> None:
    new = [f"{block} [{block.language}]" for block in BLOCKS if use_of(block) is None]
    assert new == [], (
        "say in tests/docs what is done with them: `sh` is typed, `output` compared with what that printed"
    )


def test_every_page_with_commands_has_a_session() -> None:
    with_commands = {block.page for block in BLOCKS if use_of(block) in PLAYED}
    assert with_commands == set(SCENES), "tests/docs/scenes.py names the pages that are typed"


def test_the_list_of_those_that_cannot_be_run_is_exact() -> None:
    there = {(block.page, block.first) for block in BLOCKS}
    assert [entry for entry in ELSEWHERE if entry not in there] == []
    named = {name for reason in ELSEWHERE.values() for name in re.findall(r"tests/[\w/]+\.py", reason)}
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_nothing_is_replaced_or_brought_that_is_not_there() -> None:
    for page, scene in SCENES.items():
        text = "".join(block.text for block in blocks(page) if use_of(block) in PLAYED)
        assert [word for word in scene.replaced if word not in text] == []
        assert [name for name in scene.brings if Path(name).name not in text] == []
    every = "".join(block.text for block in BLOCKS if use_of(block) is Use.COMMANDS)
    assert [word for word in COPIED if word not in every] == []
    assert [line for line in ENDLESS if not re.search(rf"(?m)^{line}", every)] == []


@pytest.mark.parametrize("block", read_as(Use.TEXT))
def test_no_command_hides_in_what_is_only_shown(block: Block) -> None:
    assert not COMMAND.search(block.text), f"{block}: `sh` says that it is typed"


def test_every_command_stands_in_a_block() -> None:
    assert [page for page in PAGES if INDENTED.search(prose(page))] == [], "put it between ```sh and ```"
    assert [page for page in PAGES if "```" in prose(page)] == [], "a block without its end"


@pytest.mark.parametrize("block", read_as(Use.JSON))
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", [*read_as(Use.PROGRAM), *read_as(Use.FILE)])
def test_programs_compile(block: Block) -> None:
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "toml":
        tomllib.loads(block.text)


@pytest.mark.parametrize("block", read_as(Use.SETTINGS))
def test_settings_are_taken(block: Block, tmp_path: Path) -> None:
    (tmp_path / "imageserver.toml").write_text(block.text)
    reading.read(["--config", "imageserver.toml"], {}, folder=tmp_path, project=tmp_path)


@pytest.mark.parametrize("block", read_as(Use.MANIFEST))
def test_manifests_are_taken(block: Block, tmp_path: Path) -> None:
    whole = block.text if "kind =" in block.text else LEAST + block.text
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.toml").write_text(whole)
    (folder / "model.py").touch()
    (folder / tomllib.loads(whole).get("runtime", {}).get("weights", "none")).touch()
    manifest.read(folder)


@pytest.mark.parametrize("block", read_as(Use.LEGACY))
def test_the_former_servers_configuration_is_taken(block: Block, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(block.text)
    assert read_config(tmp_path / "config") == ("94.7.190.69", 50022)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd's programs (scripts/apt-packages.sh)"
)
@pytest.mark.parametrize("block", read_as(Use.UNIT))
def test_systemd_takes_what_is_edited_into_the_unit(block: Block, tmp_path: Path) -> None:
    unit = (ROOT / "deploy/imageserver.service").read_text()
    start = re.search(r"(?m)^ExecStart=(\S+)", unit)
    assert start is not None
    (tmp_path / "imageserver.service").write_text(unit.replace(start[1], "/bin/true"))
    (tmp_path / "imageserver.service.d").mkdir()
    (tmp_path / "imageserver.service.d/override.conf").write_text(block.text)
    command = ["systemd-analyze", "verify", "--man=no", tmp_path / "imageserver.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
