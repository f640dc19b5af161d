"""The cache of converted models: keys, and entries that are not what was written. (What converts is in convert/.)"""

import json
import os
import shutil

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


def fill(cache, name, content=b"weights"):
    """An entry as a conversion leaves it."""
    entry = cache / f"{name}-{name[0] * 24}"
    with conversion_cache.making(entry) as made:
        (made / "model.xml").write_text(f"<net name='{name}'/>")
        (made / "model.bin").write_bytes(content)
        conversion_cache.write_report(made, conversion_cache.Report(True, "", 0.0))
    return entry


def test_an_entry_is_found_as_it_was_made(tmp_path):
    entry, said = fill(tmp_path / "cache", "net"), []
    assert conversion_cache.find(entry, said.append).model.read_text() == "<net name='net'/>"
    assert conversion_cache.find(entry.with_name("net-" + "0" * 24), said.append) is None
    assert not said
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [entry.name]


def flip(entry, other):
    data = bytearray((entry / "model.bin").read_bytes())
    data[3] ^= 1
    (entry / "model.bin").write_bytes(data)


def truncate(entry, other):
    os.truncate(entry / "model.bin", 3)


def swap(entry, other):
    shutil.rmtree(entry)
    shutil.copytree(other, entry)


def swap_weights(entry, other):
    shutil.copyfile(other / "model.bin", entry / "model.bin")


def link_the_entry(entry, other):
    shutil.rmtree(entry)
    entry.symlink_to(other)


def link_a_file(entry, other):
    (entry / "model.bin").unlink()
    (entry / "model.bin").symlink_to(other / "model.bin")


def pipe(entry, other):
    (entry / "report.json").unlink()
    os.mkfifo(entry / "report.json")


def half(entry, other):
    (entry / "report.json").unlink()


def more(entry, other):
    (entry / "model.so").write_bytes(b"")


def former_format(entry, other):
    (entry / "report.json").write_text(json.dumps({"good": True, "reason": "", "difference": 0.0}))


def deep(entry, other):
    (entry / "report.json").write_text("[" * 60_000)


@pytest.mark.parametrize(
    "damage",
    [flip, truncate, swap, swap_weights, link_the_entry, link_a_file, pipe, half, more, former_format, deep],
    ids=lambda damage: damage.__name__,
)
def test_an_entry_that_was_changed_is_thrown_away_and_said_so(tmp_path, damage):
    entry, other, said = fill(tmp_path, "net"), fill(tmp_path, "other", b"other weights"), []
    damage(entry, other)
    assert conversion_cache.find(entry, said.append) is None
    assert said[0].startswith(f"the converted model {entry.name} in the cache is damaged and thrown away: ")
    assert len(said[0]) < 400
    assert not os.path.lexists(entry)
    assert conversion_cache.find(other, said.append).report.good
    assert conversion_cache.find(fill(tmp_path, "net"), said.append).report.good
    assert len(said) == 1


def test_a_cache_that_others_write_into_is_not_used(tmp_path, monkeypatch):
    entry = fill(tmp_path / "cache", "net")
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(ModelError, match="can be written by other users: .*--models-cache"):
        conversion_cache.find(entry, print)
    (tmp_path / "cache").chmod(0o750)
    assert conversion_cache.find(entry, print) is not None
    owner = (tmp_path / "cache").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1000)
    if owner == 0:  # whose folders anybody may trust
        os.chown(tmp_path / "cache", 1234, -1)
    with pytest.raises(ModelError, match="can be written by other users"):
        conversion_cache.find(entry, print)
