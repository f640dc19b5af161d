"""The models folder: what is new, changed, gone, wrong."""

import os

import pytest

from imageserver import files
from imageserver.errors import SettingError
from imageserver.inference.shared import registry as registry_module
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


def test_files_below_the_folder_are_watched_too(tmp_path):
    write(tmp_path / "a")
    registry = Registry(tmp_path)
    (tmp_path / "a" / "parts").mkdir()
    (tmp_path / "a" / "parts" / "block.py").write_text("")
    registry.scan()
    touch(tmp_path / "a" / "parts" / "block.py", 1000)
    assert registry.scan().changed == {"a"}
    (tmp_path / "a" / "parts" / "__pycache__").mkdir()
    assert not registry.scan()


def test_strange_folders_hold_up_no_other(tmp_path):
    """A FIFO for a manifest held the server for ever, a link to itself hid all models."""
    write(tmp_path / "good")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "model.toml")
    (tmp_path / "loop").symlink_to("loop")
    write(tmp_path / "inside")
    (tmp_path / "inside" / "up").symlink_to("..")
    (tmp_path / "inside" / "self").symlink_to("self")
    registry = Registry(tmp_path)
    changes = registry.scan()
    assert changes.added == {"good", "inside"}
    assert [error.split(": ", 1)[1] for error in changes.errors] == ["cannot be read: it is no regular file"]
    assert not registry.scan()


def test_of_many_files_the_manifest_the_code_and_a_thousand_are_watched(tmp_path, monkeypatch):
    monkeypatch.setattr(registry_module, "MOST_FILES", 3)
    file = write(tmp_path / "a")
    for number in range(20):
        (tmp_path / "a" / f"{number}.png").write_text("")
    registry = Registry(tmp_path)
    registry.scan()
    for path in (file, tmp_path / "a" / "model.py"):
        touch(path, 1000)
        assert registry.scan().changed == {"a"}
    assert len(registry._seen["a"]) <= 5


def test_of_too_many_folders_the_first_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(registry_module, "MOST_MODELS", 2)
    for name in "abc":
        write(tmp_path / name)
    registry = Registry(tmp_path)
    changes = registry.scan()
    assert changes.added == {"a", "b"}
    assert changes.errors == [f"{tmp_path}: holds 3 folders; only the first 2 are looked at"]
    assert not registry.scan()


def test_a_look_changes_nothing_until_it_is_adopted(tmp_path):
    """The server looks in a thread, and goes on with what it knows meanwhile."""
    registry = Registry(tmp_path)
    write(tmp_path / "a")
    look = registry.look()
    assert not registry.manifests
    assert registry.adopt(look).added == {"a"}
    assert registry.manifests["a"].title == "x"


def test_while_the_disk_of_the_data_folder_is_not_mounted_the_models_in_it_stay(tmp_path, monkeypatch):
    shipped, data = tmp_path / "models", tmp_path / "data"
    (data / "models").mkdir(parents=True)
    shipped.mkdir()
    write(shipped / "a")
    write(data / "models" / "a", "trained")
    monkeypatch.setattr(files, "mount_of", lambda folder: folder)
    registry = Registry(shipped, data / "models")
    registry.scan()
    data.rename(tmp_path / "disk")
    data.mkdir()
    (error,) = registry.scan().errors
    assert error == f"{data}: its disk is not mounted; the models known so far stay"
    assert registry.manifests["a"].title == "trained"


def test_while_the_data_folder_is_gone_the_models_in_it_stay(tmp_path):
    shipped, data = tmp_path / "models", tmp_path / "data"
    (data / "models").mkdir(parents=True)
    shipped.mkdir()
    write(shipped / "a")
    write(data / "models" / "a", "trained")
    write(data / "models" / "b")
    registry = Registry(shipped, data / "models")
    assert registry.scan().added == {"a", "b"}
    data.rename(tmp_path / "away")
    (error,) = registry.scan().errors
    assert error.startswith(f"{data}: the folder is gone") and error.endswith("; the models known so far stay")
    assert not registry.scan()
    assert registry.manifests["a"].title == "trained"
    (tmp_path / "away").rename(data)
    assert not registry.scan()
    (data / "models").rename(tmp_path / "taken away")
    changes = registry.scan()
    assert (changes.changed, changes.removed) == ({"a"}, {"b"})
