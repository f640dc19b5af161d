"""The shipped networks' graphs: that they are what would be made now, and give what Keras gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.inference.convert.test_convert import png
from tests.inference.worker.worker_process import MODELS, ROOT, WorkerProcess

from imageserver.inference.shared import manifest
from imageserver.inference.shared.slim import graph
from imageserver.inference.shared.slim.graph import Graph

FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
import bootstrap; bootstrap.provide_package()
from pathlib import Path
import numpy as np
from imageserver.inference.convert import convert, graph as graphs
from imageserver.inference.shared import manifest, weights
from imageserver.inference.shared.slim import graph
from imageserver.inference.worker.backends import graph as backend
from imageserver.inference.worker.backends.openvino import OpenVINO
cache = Path(sys.argv[2])
for name in sys.argv[3:]:
    found = manifest.read(Path(sys.argv[1], "..", "models", name).resolve())
    shipped = graph.find(found, print)
    assert graphs.make(found) == shipped, f"{name}: make graphs"
    if found.runtime.weights.exists():
        entry = convert.convert(found, weights.check(found), cache)
        assert entry.report.good, entry
        batch = convert.probes(found.input)
        ours = OpenVINO(backend.load(found, print), "float32", 1).run(batch).copy()
        theirs = OpenVINO(entry.model, "float32", 1).run(batch)
        assert np.abs(ours - theirs).max() < 1e-6, name
    print(name)
"""
"""In a process of its own, as whoever makes them does."""


def fresh(cache: Path, *names: str) -> None:
    """Each name's graph is made anew, and compared with the shipped one and with a conversion of the model."""
    words = [sys.executable, "-c", FRESH, ROOT / "src", cache, *names]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(names)


def test_lenet_is_what_would_be_made_now(root: Path) -> None:
    shipped = graph.find(manifest.read(MODELS / "lenet"), print)
    assert shipped == Graph((root / "lenet.xml").read_bytes(), (root / "lenet.bin").read_bytes()), "make graphs"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_are_what_would_be_made_now(tmp_path: Path) -> None:
    fresh(tmp_path, *sorted(path.parent.name for path in MODELS.glob("*/graph.zip")))


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [png(np.random.default_rng(seed).integers(0, 256, (300, 400, 3), np.uint8)) for seed in (1, 2)]


def test_weights_in_h5_give_what_keras_gives(root: Path, tmp_path: Path, pictures: list[bytes]) -> None:
    """MobileNetV2, whose weights people bring."""
    folder = shutil.copytree(root / "models" / "mobilenet", tmp_path / "mobilenet")
    shutil.copy(MODELS / "mobilenet" / "graph.zip", folder)
    with WorkerProcess(root / "cache") as keras, WorkerProcess(tmp_path / "cache") as ours:
        assert keras.load(root / "models" / "mobilenet")["op"] == "loaded"
        assert ours.load(folder)["runtime"] == "openvino float32"
        for theirs, mine in zip(keras.run("mobilenet", pictures), ours.run("mobilenet", pictures), strict=True):
            assert [entry["label"] for entry in mine["labels"]] == [entry["label"] for entry in theirs["labels"]]
            scores = [[entry["score"] for entry in result["labels"]] for result in (mine, theirs)]
            assert scores[0] == pytest.approx(scores[1], abs=2e-5)
    assert not list((tmp_path / "cache").iterdir()), "nothing was converted"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("others.npz", "its 2 arrays do not have the shapes of the model's 8 weights"),
        ("objects.npz", "holds no numbers"),
        ("cut.npz", "File is not a zip file"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, file: str, said: str) -> None:
    folder = shutil.copytree(MODELS / "lenet", tmp_path / "lenet")
    text = "\n".join(line for line in (folder / "model.toml").read_text().splitlines() if "sha256" not in line)
    (folder / "model.toml").write_text(text)
    weights = folder / "weights.npz"
    if file == "others.npz":
        np.savez(weights, np.zeros(3), np.zeros(4))
    elif file == "objects.npz":
        np.savez(weights, *[np.array([{}])] * 8)
    else:
        weights.write_bytes(weights.read_bytes()[:1000])
    with WorkerProcess(tmp_path / "cache") as worker:
        failed = worker.load(folder)
    assert failed["op"] == "failed"
    assert failed["error"].startswith("the weights 'weights.npz' of the model 'lenet' do not load: ")
    assert said in failed["error"] and str(tmp_path) not in failed["error"]


def test_labels_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "lenet", tmp_path / "lenet")
    (folder / "model.toml").write_text((folder / "model.toml").read_text().replace('"9"]', '"9", "ten"]'))
    with WorkerProcess(tmp_path / "cache") as worker:
        assert worker.load(folder)["error"] == "the model 'lenet' gives 10 scores, but its manifest has 11 labels"
