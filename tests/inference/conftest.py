"""What several tests of models need, built once for all of them."""

import subprocess
import sys

import pytest
from tests.inference.worker.worker_process import MODELS, ROOT
from tests.sharing import once


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """models/, cache/ with those converted, and files for add_model."""
    return once(tmp_path_factory, "keras", make_models)


def make_models(folder):
    program = [sys.executable, str(ROOT / "tests/inference/keras_models.py"), str(folder), str(MODELS / "mobilenet")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
