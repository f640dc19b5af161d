"""What was written for 0.1 goes on working for one release: a model's imports, and the commands."""

import importlib.util
import os
import subprocess
import sys

import pytest
from tests.inference.worker.worker_process import ROOT, WorkerProcess

from imageserver.inference import old_names

SRC = ROOT / "src"

SAME_MODULE = """
import sys
import bootstrap; bootstrap.provide_package()
from imageserver.inference import old_names
old_names.install()
old_names.install()
from imageserver.inference.shared import manifest
from inference.manifest import Manifest
import inference.manifest as old
from inference import manifest as again
from inference.pictures import Header
assert old is again is manifest is sys.modules["imageserver.inference.shared.manifest"]
assert Manifest is manifest.Manifest
assert manifest.__spec__.name == manifest.__name__ == "imageserver.inference.shared.manifest"
try:
    import inference.nothing
except ModuleNotFoundError as error:
    assert error.name == "inference.nothing"
else:
    raise AssertionError
"""

MANIFEST = """
kind = "custom"
[input]
width = 8
height = 8
[runtime]
runtime = "python"
"""

MODEL = """
from inference.manifest import Manifest
from inference.pictures import Header

class Model:
    def __init__(self, folder, manifest: Manifest):
        assert isinstance(manifest, Manifest)

    def predict(self, batch):
        return [{"label": "served"} for _picture in batch]
"""


def sentence(old):
    return f"{old} is now {old_names.NEW_NAMES[old]}; the old name goes with the next release"


def test_an_old_name_is_the_very_module_of_the_new_one_and_says_so_once():
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    program = [sys.executable, "-c", SAME_MODULE]
    done = subprocess.run(program, cwd="/", env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        [sentence("inference.manifest"), sentence("inference.pictures")],
    )


@pytest.mark.parametrize("name", old_names.NEW_NAMES)
def test_every_new_name_exists(name):
    assert importlib.util.find_spec(old_names.NEW_NAMES[name]) is not None


@pytest.mark.parametrize("name", ["inference.recipes.xray_training", "inference.recipes.xray_figures"])
def test_a_command_runs_by_its_old_name(name):
    program = [sys.executable, "-m", name, "-h"]
    done = subprocess.run(program, cwd=SRC, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.splitlines()) == (0, [sentence(name)])
    assert "--data" in done.stdout


def test_a_model_written_for_the_old_names_loads_in_a_worker(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.toml").write_text(MANIFEST)
    (folder / "model.py").write_text(MODEL)
    with WorkerProcess(tmp_path / "cache") as worker:
        for _load in range(2):
            assert worker.load(folder)["op"] == "loaded"
        worker.process.kill()
        said = worker.process.stderr.read().decode().splitlines()
    assert said == [sentence("inference.manifest"), sentence("inference.pictures")]
