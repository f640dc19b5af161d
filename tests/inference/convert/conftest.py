"""Networks that several tests of this folder convert."""

import shutil

import numpy as np
import pytest

from imageserver.inference.convert import convert
from imageserver.inference.shared import manifest
from imageserver.inference.worker.backends.openvino import OpenVINO

MANIFEST = """
kind = "{kind}"
[input]
width = {size[0]}
height = {size[1]}
{input}
[output]
{output}
[batch]
max_batch = 4
[runtime]
weights = "{weights}"
"""
CATS = 'labels = ["cat", "dog", "bird"]'


@pytest.fixture(scope="module")
def arrays():
    """Weights of the network, as Keras has them."""
    random = np.random.default_rng(1)
    return [random.normal(size=shape).astype(np.float32) for shape in ((3, 3, 3, 4), (4,), (4, 3), (3,))]


@pytest.fixture
def make(tmp_path):
    """Writes a model's folder and returns its manifest."""

    def made(file, more="", output=CATS, kind="classification", size=(12, 10)):
        folder = tmp_path / "models" / file.stem
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
        layout = "" if file.suffix != ".onnx" else 'layout = "nchw"\n'
        text = MANIFEST.format(kind=kind, input=layout + more, output=output, weights=file.name, size=size)
        (folder / "model.toml").write_text(text)
        return manifest.read(folder)

    return made


@pytest.fixture
def run(tmp_path):
    """Converts a model and runs it on the probes; the backend, and its first output."""

    def done(found):
        entry = convert.convert(found, "0" * 64, tmp_path / "cache")
        assert entry.report.good, entry.report.reason
        backend = OpenVINO(entry.model, found.runtime.precision, 1)
        return backend, np.array(backend.run(convert.probes(found.input)))

    return done
