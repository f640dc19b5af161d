"""`add_model.py --list` and `--get`, as a new user would, with an index, a mirror and a network of the test's own."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.inference.getting.mirrors import Mirror, serving
from tests.running import ROOT

from imageserver.inference import add_model, adding
from imageserver.inference.getting import index
from imageserver.inference.shared import manifest, weights

INDEX = """
[boxes]
title = "Boxes everywhere"
task = "detection"
license = "Apache-2.0"
page = "https://localhost/boxes"
figures = "64x64, 2 labels"
file = "{file}"
address = "https://localhost/{file}"
bytes = {size}
sha256 = "{sha256}"
reading = {{ labels = "labels.txt" }}
output = {{ confidence = 0.4 }}
"""


def detector() -> bytes:
    """A network laid out as YOLOX's, which sees one box of the second label in every picture."""
    foreign: Any = pytest.importorskip("tests.inference.foreign", exc_type=ImportError)
    cells = np.full((1, 84, 7), 0.001, np.float32)
    cells[0, 9] = (0.5, 0.5, 1.0, 1.0, 0.9, 0.1, 0.9)
    content: bytes = foreign.constant({"output": cells}, shape=(1, 3, 64, 64)).SerializeToString()
    return content


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    made = detector()
    (tmp_path / "labels.txt").write_text("square\ntriangle\n")
    text = INDEX.format(file="boxes.onnx", size=len(made), sha256=hashlib.sha256(made).hexdigest())
    (tmp_path / "index.toml").write_text(text)
    monkeypatch.setattr(index, "FILE", tmp_path / "index.toml")
    (tmp_path / "models").mkdir()
    return made


def run(folder: Path, *arguments: str) -> int:
    return add_model.main([*arguments, "--models", str(folder / "models"), "--models-cache", str(folder / "cache")])


@pytest.mark.slow
def test_from_a_mirror_to_a_model(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (128, 64)).save(tmp_path / "black.png")
    with serving(Mirror(content)) as mirror:
        code = run(tmp_path, "--get", "boxes", "--from", mirror.address, "--try", str(tmp_path / "black.png"))
        said = capsys.readouterr()
        assert code == 0, said.err
        lines = said.out.splitlines()
        assert lines[0] == "Boxes everywhere is licensed under Apache-2.0: https://localhost/boxes"
        host = mirror.address.split("/")[2]
        assert lines[1] == f"boxes.onnx (0.0 MB) comes from {host}."
        assert "- boxes.onnx is ONNX." in lines
        assert "  0.8100  triangle, " in said.out
        folder = tmp_path / "models" / "boxes"
        assert {path.name for path in folder.iterdir()} == {"model.toml", "model.onnx", "labels.txt"}
        assert (folder / "model.onnx").read_bytes() == content
        written = tomllib.loads((folder / "model.toml").read_text())
        assert written["title"] == "Boxes everywhere"
        assert (written["license"], written["source"]) == ("Apache-2.0", "https://localhost/boxes")
        assert (written["output"]["format"], written["output"]["confidence"]) == ("yolox", 0.4)
        assert not list((tmp_path / "cache" / "downloads").iterdir())

        # What cannot be is told before anything is fetched.
        asked = len(mirror.seen)
        assert run(tmp_path, "--get", "boxes", "--from", mirror.address) == 1
        assert "there is a model 'boxes' already: choose another --name, or say --replace" in capsys.readouterr().err
        assert len(mirror.seen) == asked


def test_from_a_folder_with_another_file(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "boxes.onnx").write_bytes(bytes(len(content)))
    assert run(tmp_path, "--get", "boxes", "--from", str(tmp_path)) == 1
    said = capsys.readouterr().err
    assert "is not boxes.onnx: its SHA-256 is" in said
    assert len(said.splitlines()) == 1
    assert not list((tmp_path / "models").iterdir())


def test_a_folder_that_one_may_not_write_into(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(add_model.os, "access", lambda path, _mode: path != tmp_path / "models")
    assert run(tmp_path, "--get", "boxes", "--from", str(tmp_path)) == 1
    assert f"you may not write into {tmp_path / 'models'}: name another by --models" in capsys.readouterr().err


def test_the_files_of_a_model_that_comes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ROOT / "models" / "shapes"
    rows = [
        f'file = "{name}"\naddress = "https://localhost/{name}"\nbytes = {(whole / name).stat().st_size}\n'
        f'sha256 = "{hashlib.sha256((whole / name).read_bytes()).hexdigest()}"'
        for name in ("model.onnx", "labels.txt")
    ]
    text = f"""
[shapes]
task = "detection"
license = "MIT"
page = "https://localhost/"
shipped = true
{rows[0]}
[shapes.labels]
{rows[1]}
"""
    (tmp_path / "index.toml").write_text(text)
    monkeypatch.setattr(index, "FILE", tmp_path / "index.toml")
    monkeypatch.setattr(adding, "run", lambda _options, folder, *_rest: weights.check(manifest.read(folder)))
    models = tmp_path / "models"
    models.mkdir()
    get = ["--get", "shapes", "--from", str(whole)]
    assert run(tmp_path, *get) == 1
    assert "which comes with the server and is what these files are for" in capsys.readouterr().err
    shutil.copytree(whole, models / "shapes", ignore=shutil.ignore_patterns("model.onnx", "labels.txt"))
    assert run(tmp_path, *get, "--range", "0,1") == 1
    assert "shapes has a manifest already, which says such things: leave out --range" in capsys.readouterr().err

    assert run(tmp_path, *get) == 0, capsys.readouterr().err
    assert f"The model 'shapes' in {models / 'shapes'} has its files." in capsys.readouterr().out
    assert {path.name for path in (models / "shapes").iterdir()} == {path.name for path in whole.iterdir()}
    assert [path.name for path in models.iterdir()] == ["shapes"]
    assert run(tmp_path, *get) == 1
    assert f"model.onnx is in {models / 'shapes'} already: say --replace" in capsys.readouterr().err


def test_the_list(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "name   task         size  licence     from",
        "boxes  detection  0.0 MB  Apache-2.0  localhost",
        "  Boxes everywhere: 64x64, 2 labels",
        "  boxes.onnx",
    ]
    assert run(tmp_path, "--list", "--from", str(tmp_path)) == 0
    assert "Apache-2.0  not there" in capsys.readouterr().out
    assert run(tmp_path, "--list", "--from", str(tmp_path / "nowhere")) == 1
    assert f"there is no folder {tmp_path / 'nowhere'}, which --from names" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "sentence"), [
    ([], "give a file, or the name of a model of the index with --get, or --list"),
    (["a.onnx", "--get", "boxes"], "give a file, or the name"),
    (["--list", "--get", "boxes"], "give a file, or the name"),
    (["a.onnx", "--from", "/tmp"], "--from says where --get and --list look: leave it out with a file"),
    (["--get", "boxen"], "argument --get: invalid choice: 'boxen'"),
])  # fmt: skip
def test_what_is_typed_wrong(
    content: bytes, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        add_model.main(arguments)
    assert sentence in capsys.readouterr().err
