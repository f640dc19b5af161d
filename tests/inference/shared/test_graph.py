"""graph.zip: which one counts. (What it gives is in convert/test_graphs.py, who runs on it in tests/slim/.)"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from tests.running import ROOT

from imageserver.inference.shared import manifest
from imageserver.inference.shared.slim import graph

SHIPPED = sorted(path.parent.name for path in ROOT.glob("models/*/graph.zip"))


def test_every_shipped_network_has_one() -> None:
    networks = {path.parent.name for path in ROOT.glob("models/*/weights.npz")} | {"mobilenet"}
    assert set(SHIPPED) == networks
    assert sum((ROOT / "models" / name / graph.FILE).stat().st_size for name in SHIPPED) < 400_000


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_ones_are_of_the_code_beside_them(name: str) -> None:
    """Where not: `make graphs`."""
    assert graph.is_current(manifest.read(ROOT / "models" / name))


@pytest.fixture
def lenet(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "models" / "lenet", tmp_path / "lenet")


def found(folder: Path) -> tuple[graph.Graph | None, list[str]]:
    said: list[str] = []
    return graph.find(manifest.read(folder), said.append), said


def test_it_is_found_and_so_by_a_new_training_of_the_same_code(lenet: Path) -> None:
    text = (lenet / "model.toml").read_text()
    (lenet / "model.toml").write_text("\n".join(line for line in text.splitlines() if "sha256" not in line))
    (lenet / "weights.npz").write_bytes(b"others")
    made, said = found(lenet)
    assert made is not None and not said
    assert made.xml.startswith(b'<?xml version="1.0"?>') and b"weight_7" in made.xml
    assert str(ROOT).encode() not in made.xml


@pytest.mark.parametrize(
    ("old", "new"), [("width = 28", "width = 30"), ('weights = "weights.npz"', 'weights = "m.onnx"')]
)
def test_it_does_not_count_for_another_manifest(lenet: Path, old: str, new: str) -> None:
    (lenet / "model.toml").write_text((lenet / "model.toml").read_text().replace(old, new))
    assert found(lenet)[0] is None


def test_it_does_not_count_for_other_code(lenet: Path) -> None:
    (lenet / "model.py").write_text((lenet / "model.py").read_text() + "\n# edited\n")
    made, [said] = found(lenet)
    assert made is None
    assert said.startswith("graph.zip was made from other code, or is damaged, so it does not count")


def damage_table(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def damage_graph(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[600] ^= 255
    path.write_bytes(data)


def leave_out(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        about = archive.read("about.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about.json", about)


def other_table(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about.json", json.dumps(["sources"]))


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in parts.items():
            archive.writestr(name, data + b" " * 100_000)


@pytest.mark.parametrize("act", [damage_table, damage_graph, leave_out, other_table, bomb])
def test_a_damaged_one_does_not_count(lenet: Path, act: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(act)
    act(lenet / graph.FILE)
    monkeypatch.setattr(graph, "MOST_BYTES", 50_000)
    made, said = found(lenet)
    assert made is None
    assert len(said) == 1 and "does not count" in said[0]
