"""Keras models in their runtimes: converted and compared, or not; the cache; what happens to each that is wrong."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.inference.worker.worker_process import MODELS, ROOT, WorkerProcess

from imageserver.inference.convert import convert
from imageserver.inference.shared import conversion_cache, manifest, weights


@pytest.fixture(scope="session")
def worker(root):
    with WorkerProcess(root / "cache") as process:
        yield process


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def scores(result):
    return [
        next(entry["score"] for entry in result["labels"] if entry["label"] == label)
        for label in ("cat", "dog", "bird")
    ]


def libraries(worker):
    return {
        os.path.basename(entry.path)
        for entry in psutil.Process(worker.process.pid).memory_maps()
        if ".so" in entry.path
    }


def entry_of(root, name):
    found = manifest.read(root / "models" / name)
    return conversion_cache.entry_folder(root / "cache", found, weights.digest(found.runtime.weights))


def test_prepare_says_what_became_of_each(root):
    said = (root / "said.txt").read_text()
    for name in ("tiny", "saved", "arrays", "blue", "grey", "mobilenet"):
        assert f"model {name}: converted in " in said
    assert "model strange: stays in TensorFlow: OpenVINO cannot convert it: it has no BesselI0e\n" in said
    assert "model random: stays in TensorFlow: the converted model differs by " in said


def test_prepare_does_nothing_twice_and_needs_no_tensorflow_for_it(root):
    program = [
        sys.executable,
        "-X",
        "importtime",
        str(ROOT / "src/inference/prepare.py"),
        "--models",
        str(root / "models"),
    ]
    done = subprocess.run(
        [*program, "--models-cache", str(root / "cache")], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert done.returncode == 0
    assert done.stdout == ""
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"tensorflow", "keras", "openvino", "numpy", "cv2"}


@pytest.mark.parametrize("name", ["tiny", "saved", "arrays"])
def test_a_keras_file_a_savedmodel_and_arrays_give_what_keras_gives(root, worker, name):
    loaded = worker.load(root / "models" / name)
    assert (loaded["op"], loaded["runtime"], loaded["warnings"]) == ("loaded", "openvino float32", [])
    expected = np.load(root / "expected.npz")
    for result in worker.run(name, [png(expected["picture"])] * 3):
        assert scores(result) == pytest.approx(expected["scores"].tolist(), abs=1e-3 if name == "arrays" else 2e-5)
        assert result["label"] == ("cat", "dog", "bird")[int(expected["scores"].argmax())]
        assert result["size"] == [12, 10]


def test_blue_comes_first_where_the_manifest_says_so(root, worker):
    worker.load(root / "models" / "blue")
    expected = np.load(root / "expected.npz")
    [result] = worker.run("blue", [png(expected["picture"][:, :, ::-1])])
    assert scores(result) == pytest.approx(expected["scores"].tolist(), abs=2e-5)


def test_a_batch_gives_what_each_alone_gives(root, worker):
    worker.load(root / "models" / "grey")
    pictures = [png(np.random.default_rng(seed).integers(0, 256, (30, 40), np.uint8)) for seed in range(7)]
    alone = [worker.run("grey", [picture])[0] for picture in pictures]
    for count in range(1, 8):
        for result, single in zip(worker.run("grey", pictures[:count]), alone, strict=False):
            assert scores(result) == pytest.approx(scores(single), abs=2e-5)


def test_mobilenet(root, worker):
    loaded = worker.load(root / "models" / "mobilenet")
    assert (loaded["op"], loaded["runtime"]) == ("loaded", "openvino float32")
    first, second = worker.run(
        "mobilenet", [png(np.random.default_rng(seed).integers(0, 256, (300, 400, 3), np.uint8)) for seed in (1, 2)]
    )
    assert len(first["labels"]) == 5
    assert first["label"].startswith("class ")
    assert 0.001 < first["score"] < 1
    assert second["size"] == [400, 300]


def test_a_worker_of_converted_models_holds_no_tensorflow(root, worker):
    worker.load(root / "models" / "tiny")
    loaded = libraries(worker)
    assert any("openvino" in name for name in loaded)
    assert not any("libtensorflow" in name for name in loaded)
    with WorkerProcess(root / "cache") as alone:
        alone.load(root / "models" / "tiny")
        assert psutil.Process(alone.process.pid).memory_info().rss < 200e6


def test_mobilenet_without_weights_says_which_file_to_put_where(worker):
    failed = worker.load(MODELS / "mobilenet")
    if (MODELS / "mobilenet" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5").exists():
        pytest.skip("somebody has fetched the weights")
    assert failed["op"] == "failed"
    assert (
        "put 'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5' into its folder. Download it from https://"
        in failed["error"]
    )


def test_other_weights_than_the_manifest_names(root, worker, tmp_path):
    folder = shutil.copytree(root / "models" / "saved", tmp_path / "saved")
    (folder / "model" / "extra").write_text("x")
    failed = worker.load(folder)
    assert failed["op"] == "failed"
    assert "have the SHA-256" in failed["error"]
    assert str(tmp_path) not in failed["error"]


def test_what_does_not_fit_the_model_is_said_by_prepare(root):
    said = (root / "said.txt").read_text()
    assert "model wrong-width: the model 'wrong-width' takes (10, 12, 3), but its manifest says (10, 13, 3)" in said
    assert (
        "model wrong-channels: the model 'wrong-channels' takes (10, 12, 3), but its manifest says (10, 12, 1)" in said
    )
    assert "model wrong-labels: the model 'wrong-labels' gives 3 scores, but its manifest has 2 labels" in said
    assert (
        "model wrong-cut: the weights 'model.keras' of the model 'wrong-cut' do not load: "
        "it is no zip archive, as a .keras file is: it may be cut short"
    ) in said
    assert (
        "'weights.npz' of the model 'wrong-arrays' do not load: "
        "its 2 arrays do not have the shapes of the model's 4 weights" in said
    )


@pytest.mark.long
def test_damaged_cache_and_fallback(root, tmp_path):
    """One worker with a damaged cache: it converts by itself, and takes TensorFlow where it must."""
    cache = tmp_path / "cache"
    models = root / "models"
    entry = shutil.copytree(entry_of(root, "tiny"), cache / entry_of(root, "tiny").name)
    cache.chmod(0o700)
    (entry / conversion_cache.MODEL).write_text("no model")
    expected = np.load(root / "expected.npz")
    with WorkerProcess(cache) as worker:
        assert worker.load(models / "tiny")["runtime"] == "openvino float32"
        assert conversion_cache.find(entry, print).report.good
        assert not any("libtensorflow" in name for name in libraries(worker))
        assert scores(worker.run("tiny", [png(expected["picture"])])[0]) == pytest.approx(
            expected["scores"].tolist(), abs=2e-5
        )

        conversion_cache.write_report(
            entry, conversion_cache.Report(False, "the converted model gives other labels", 0.5)
        )
        loaded = worker.load(models / "tiny")
        assert loaded["runtime"] == "tensorflow"
        assert len(loaded["warnings"]) == 1
        assert loaded["warnings"][0].startswith("it runs in TensorFlow, which is slower")
        assert loaded["warnings"][0].endswith(": the converted model gives other labels")
        assert any("libtensorflow" in name for name in libraries(worker))
        for count in (1, 3, 4):
            for result in worker.run("tiny", [png(expected["picture"])] * count):
                assert scores(result) == pytest.approx(expected["scores"].tolist(), abs=2e-5)

        folder = shutil.copytree(models / "tiny", tmp_path / "tiny")
        text = (folder / "model.toml").read_text()
        (folder / "model.toml").write_text(text.replace("[runtime]", "[runtime]\nruntime = 'openvino'"))
        assert (
            worker.load(folder)["error"]
            == "the model 'tiny' cannot run in OpenVINO: the converted model gives other labels"
        )
        (folder / "model.toml").write_text(text.replace("[runtime]", "[runtime]\nruntime = 'tensorflow'"))
        assert worker.load(folder)["warnings"] == []


CONVERT = """
import sys
import bootstrap; bootstrap.provide_package()
from pathlib import Path
from tests.inference.worker.worker_process import convert
convert(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_conversion_ends_with_who_started_it(root, tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    program = [sys.executable, "-c", CONVERT, str(root / "models" / "tiny"), str(tmp_path / "cache")]
    with subprocess.Popen(program, env=environment, cwd=tmp_path) as starter:
        process = psutil.Process(starter.pid)
        while not (children := process.children()):
            assert starter.poll() is None
            time.sleep(0.005)
        starter.kill()
        assert psutil.wait_procs(children, timeout=60)[1] == []
    assert not list((tmp_path / "cache").glob("tiny-*"))


def test_judge():
    original = np.array([[0.7, 0.3], [0.4, 0.6]], np.float32)
    assert convert.judge(original, original + 0.0005, 1e-3).good
    assert not convert.judge(original, original + 0.002, 1e-3).good
    close = np.array([[0.5004, 0.4996]], np.float32)
    assert convert.judge(close, close[:, ::-1], 1e-3).reason == "the converted model gives other labels"
    assert not convert.judge(original, np.full_like(original, np.nan), 1e-3).good
    assert not convert.judge(original, original[:, :1], 1e-3).good
    logits = original * 1000
    assert convert.judge(logits, logits + 0.5, 1e-3).good


def test_the_probes_have_the_models_shape_range_and_variety(root):
    wanted = manifest.read(root / "models" / "tiny").input
    batch = convert.probes(wanted)
    assert batch.shape == (8, 10, 12, 3)
    assert batch.dtype == np.float32
    assert (batch.min(), batch.max()) == (0.0, 1.0)
    assert len(np.unique(batch.reshape(len(batch), -1), axis=0)) == len(batch)
    assert convert.probes(replace(wanted, layout="nchw")).shape == (8, 3, 10, 12)


def test_the_key_changes_with_everything_that_matters(root, tmp_path):
    folder = shutil.copytree(root / "models" / "arrays", tmp_path / "arrays")
    found = manifest.read(folder)
    keys = {conversion_cache.key(found, "a"), conversion_cache.key(found, "b")}
    keys.add(conversion_cache.key(replace(found, runtime=replace(found.runtime, precision="bfloat16")), "a"))
    keys.add(conversion_cache.key(replace(found, input=replace(found.input, width=99)), "a"))
    (folder / "model.py").write_text("# another architecture")
    keys.add(conversion_cache.key(found, "a"))
    assert len(keys) == 5
    assert conversion_cache.key(replace(found, title="other"), "b") == conversion_cache.key(found, "b")


def test_entries_appear_whole_or_not_at_all(tmp_path):
    entry = tmp_path / "cache" / f"m-{'0' * 24}"
    with pytest.raises(RuntimeError), conversion_cache.making(entry) as made:  # noqa: PT012
        (made / conversion_cache.MODEL).write_text("x")
        raise RuntimeError
    assert list((tmp_path / "cache").iterdir()) == []
    assert conversion_cache.find(entry, print) is None
    for text in ("first", "second"):
        with conversion_cache.making(entry) as made:
            (made / conversion_cache.MODEL).write_text(text)
            conversion_cache.write_report(made, conversion_cache.Report(True, "", 0.0))
        assert conversion_cache.find(entry, print).model.read_text() == text
    (entry / conversion_cache.REPORT).write_text(json.dumps({"good": True}))
    assert conversion_cache.find(entry, print) is None


def test_old_entries_of_a_model_go_and_others_stay(tmp_path):
    for number in range(7):
        folder = tmp_path / f"m-{number:024x}"
        folder.mkdir()
        os.utime(folder, (number, number))
    for other in (f"m-other-{0:024x}", "m-short", f".m-{0:024x}.lock"):
        (tmp_path / other).mkdir()
    conversion_cache.prune(tmp_path, "m")
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {f"m-{number:024x}" for number in (3, 4, 5, 6)} | {
        f"m-other-{0:024x}",
        "m-short",
        f".m-{0:024x}.lock",
    }


def test_the_entry_that_is_used_stays_where_a_clock_that_was_set_back_makes_it_the_oldest(tmp_path):
    for number in range(7):
        folder = tmp_path / f"m-{number:024x}"
        folder.mkdir()
        os.utime(folder, (number, number))
    conversion_cache.prune(tmp_path, "m", tmp_path / f"m-{0:024x}")
    assert {entry.name for entry in tmp_path.iterdir()} == {f"m-{number:024x}" for number in (0, 4, 5, 6)}


def test_the_cache_is_where_the_desktop_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert conversion_cache.cache_folder() == Path("/somewhere/imageserver")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/x")
    assert conversion_cache.cache_folder() == Path("/home/x/.cache/imageserver")
