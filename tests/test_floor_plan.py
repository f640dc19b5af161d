"""The floor plan names rooms and files that are there, and every room is in it."""

import re

import pytest
from tests.running import ROOT

SRC = ROOT / "src"
PATHS = {
    str(path.relative_to(SRC)) + ("/" if path.is_dir() else "") for path in SRC.rglob("*") if path.name != "__pycache__"
}


def named_in(document: str) -> set[str]:
    """What stands in backticks and looks like a file or a folder of the program."""
    words = re.findall(r"`([\w./-]+)`", (ROOT / document).read_text(encoding="utf-8"))
    return {word.removeprefix("src/") for word in words if word.endswith((".py", "/"))}


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_what_is_named_is_there(document: str) -> None:
    gone = {
        name
        for name in named_in(document)
        if not any(path == name or path.endswith("/" + name) for path in PATHS) and not (ROOT / name).exists()
    }
    assert not gone


def test_every_room_is_in_the_plan() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {f"{path.name}/" for path in SRC.iterdir() if path.is_dir() and "__" not in path.name}
    assert not [room for room in rooms if f"`{room}" not in text and f"  {room}" not in text]
