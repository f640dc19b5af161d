"""The key of a converted model: everything that its graph depends on. (What converts is tested in convert/.)"""

import pytest

from imageserver.errors import ModelError
from imageserver.inference.shared import conversion_cache, manifest

MANIFEST = """
kind = "classification"
[input]
width = 8
height = 8
[output]
labels = ["no", "yes"]
[runtime]
weights = "weights.npz"
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "net"
    (folder / "parts").mkdir(parents=True)
    (folder / "model.toml").write_text(MANIFEST)
    (folder / "model.py").write_text("from . import helper")
    (folder / "helper.py").write_text("FILTERS = 8")
    (folder / "parts" / "block.py").write_text("DEPTH = 2")
    return folder


def key(folder):
    return conversion_cache.key(manifest.read(folder), "digest")


def test_every_file_of_code_in_the_models_folder_counts(folder):
    keys = [key(folder)]
    for name in ("model.py", "helper.py", "parts/block.py", "parts/new.py"):
        (folder / name).write_text("# edited")
        keys.append(key(folder))
    (folder / "helper.py").rename(folder / "helper2.py")
    keys.append(key(folder))
    assert len(set(keys)) == 6


def test_what_is_no_code_of_the_model_does_not_count(folder):
    before = key(folder)
    for name in ("README.md", "parts/__pycache__/block.py", ".venv/lib/module.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    assert key(folder) == before


def test_a_folder_full_of_code_is_refused_in_a_sentence(folder, monkeypatch):
    monkeypatch.setattr(conversion_cache, "MOST_CODE_FILES", 2)
    with pytest.raises(ModelError, match="the folder of the model 'net' holds more than 2 Python files"):
        key(folder)
