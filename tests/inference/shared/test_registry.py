"""The models folder: what is new, changed, gone, wrong."""

import os

import pytest

from imageserver.errors import SettingError
from imageserver.inference.shared.registry import Registry

MANIFEST = """
kind = "custom"
title = "%s"
[input]
width = 4
height = 4
[runtime]
runtime = "python"
"""


def write(folder, title="x"):
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text("")
    file = folder / "model.toml"
    file.write_text(MANIFEST % title)
    return file


def touch(file, seconds):
    """A later time of change, without waiting for one."""
    os.utime(file, (seconds, seconds))


def test_found_changed_removed(tmp_path):
    registry = Registry(tmp_path)
    assert not registry.scan()
    file = write(tmp_path / "a")
    write(tmp_path / "b")
    assert registry.scan().added == {"a", "b"}
    assert not registry.scan()
    file.write_text(MANIFEST % "new")
    touch(file, 1000)
    changes = registry.scan()
    assert (changes.added, changes.changed, changes.removed) == (set(), {"a"}, set())
    assert registry.manifests["a"].title == "new"
    (tmp_path / "b").rename(tmp_path / "c")
    changes = registry.scan()
    assert (changes.added, changes.changed, changes.removed) == ({"c"}, set(), {"b"})
    file.unlink()
    assert registry.scan().removed == {"a"}
    assert set(registry.manifests) == {"c"}


def test_new_weights_and_new_code_are_changes_too(tmp_path):
    write(tmp_path / "a")
    registry = Registry(tmp_path)
    registry.scan()
    touch(tmp_path / "a" / "model.py", 1000)
    assert registry.scan().changed == {"a"}
    (tmp_path / "a" / "weights.bin").write_bytes(b"x")
    assert registry.scan().changed == {"a"}
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / ".model.toml.swp").write_text("")
    assert not registry.scan()


def test_a_wrong_manifest_is_reported_once_and_the_last_good_one_stays(tmp_path):
    file = write(tmp_path / "a", "good")
    registry = Registry(tmp_path)
    registry.scan()
    file.write_text("nonsense")
    touch(file, 1000)
    changes = registry.scan()
    assert len(changes.errors) == 1
    assert "not valid TOML" in changes.errors[0]
    assert not changes.changed
    assert registry.manifests["a"].title == "good"
    assert "a" in registry.errors
    assert not registry.scan()
    write(tmp_path / "a", "better")
    assert registry.scan().changed == {"a"}
    assert not registry.errors


def test_a_manifest_that_is_wrong_from_the_start_is_no_model(tmp_path):
    write(tmp_path / "health")
    registry = Registry(tmp_path)
    changes = registry.scan()
    assert "route of the server" in changes.errors[0]
    assert not registry.manifests
    (tmp_path / "health").rename(tmp_path / "fine")
    changes = registry.scan()
    assert changes.added == {"fine"}
    assert not changes.errors
    assert not registry.errors


def test_hidden_folders_files_and_folders_without_a_manifest_are_no_models(tmp_path):
    write(tmp_path / ".adding-x")
    write(tmp_path / "_old")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("")
    assert not Registry(tmp_path).scan()


def test_a_folder_that_vanishes_keeps_its_models(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    write(models / "a")
    registry = Registry(models)
    registry.scan()
    models.rename(tmp_path / "elsewhere")
    changes = registry.scan()
    assert "cannot be read" in changes.errors[0]
    assert not changes.removed
    assert not registry.scan().errors
    (tmp_path / "elsewhere").rename(models)
    assert not registry.scan()


def test_no_folder_is_a_setting_to_mend(tmp_path):
    with pytest.raises(SettingError, match="--models"):
        Registry(tmp_path / "nothing")
