"""A real worker process: loading, running, reloading, limits, and its end."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.inference.worker.worker_process import TEST_MODELS, WorkerProcess

from imageserver.inference.shared import wire


def grey(level, size=(32, 24), kind="PNG"):
    stream = io.BytesIO()
    Image.new("L", size, level).save(stream, kind)
    return stream.getvalue()


def copy(name, folder):
    shutil.copytree(TEST_MODELS / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / name


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with WorkerProcess(tmp_path_factory.mktemp("cache"), "--max-bytes", "100000", "--max-pixels", "10000") as process:
        process.load(TEST_MODELS / "echo")
        yield process


def test_each_picture_gets_its_own_answer_in_order(worker):
    results = worker.run("echo", [grey(level) for level in (0, 100, 255, 7)])
    assert [result["label"] for result in results] == ["0", "100", "255", "7"]
    assert results[0] == {"label": "0", "score": 1.0, "labels": [], "size": [32, 24]}


def test_a_broken_picture_does_not_spoil_its_batch(worker):
    good, broken, cut, empty, other = worker.run(
        "echo", [grey(5), b"no picture", grey(9)[:-9], b"", grey(6, kind="JPEG")]
    )
    assert (good["label"], other["label"]) == ("5", "6")
    for result in (broken, cut, empty):
        assert result["reason"] == "picture"
        assert len(result["error"]) > 20


def test_limits_come_from_the_command_line(worker):
    small, large, heavy = worker.run("echo", [grey(1, (100, 100)), grey(1, (101, 100)), bytes(100_001)])
    assert small["label"] == "1"
    assert "more than the 10000 allowed" in large["error"]
    assert "more than the 100000 allowed" in heavy["error"]


def test_the_size_is_that_of_the_upright_picture(worker):
    assert worker.run("echo", [grey(1)], rotate=90)[0]["size"] == [24, 32]


def test_a_model_that_is_not_there(worker):
    assert (
        worker.run("nothing", [grey(1), grey(2)])
        == [{"error": "the model 'nothing' is not loaded", "reason": "model"}] * 2
    )


def test_batches_larger_than_the_manifest_says_are_served_too(worker):
    assert [result["label"] for result in worker.run("echo", [grey(level) for level in range(20)])] == [
        str(level) for level in range(20)
    ]


def test_both_slots(worker):
    for slot in (0, 1):
        worker.send(
            {"op": "run", "id": slot, "model": "echo", "slot": slot, "items": worker.put([grey(40 + slot)], slot)}
        )
    assert [worker.receive()["results"][0]["label"] for _slot in (0, 1)] == ["40", "41"]


def test_a_model_that_does_not_load_says_why_and_leaves_the_others(worker, tmp_path):
    folder = copy("echo", tmp_path).rename(tmp_path / "broken")
    (folder / "model.py").write_text("raise RuntimeError('no such luck')")
    failed = worker.load(folder)
    assert failed["op"] == "failed"
    assert failed["error"] == "model.py of the model 'broken' does not load: RuntimeError: no such luck"
    (folder / "model.py").write_text("class Model: pass")
    assert "has no class Model with predict" in worker.load(folder)["error"]
    (folder / "model.py").write_text(
        "class Model:\n def __init__(self, folder, manifest): 1 / 0\n def predict(self, batch): pass"
    )
    assert "does not start: ZeroDivisionError" in worker.load(folder)["error"]
    (folder / "model.py").write_text(
        "class Model:\n def __init__(self, folder, manifest): pass\n def predict(self, batch): pass"
    )
    assert (
        "fails on a blank picture: TypeError: predict must return a list of 8 dictionaries"
        in worker.load(folder)["error"]
    )
    (folder / "model.toml").write_text("kind = 5")
    assert "model.toml: kind: must be one of" in worker.load(folder)["error"]
    assert worker.run("echo", [grey(3)])[0]["label"] == "3"


def test_reloading_and_a_failed_reload(worker, tmp_path):
    folder = copy("echo", tmp_path).rename(tmp_path / "changing")
    code = (folder / "model.py").read_text()
    assert worker.load(folder)["op"] == "loaded"
    (folder / "model.py").write_text(code.replace("str(", "'new ' + str("))
    assert worker.load(folder)["op"] == "loaded"
    assert worker.run("changing", [grey(3)])[0]["label"] == "new 3"
    (folder / "model.py").write_text("nonsense")
    assert worker.load(folder)["op"] == "failed"
    assert worker.run("changing", [grey(4)])[0]["label"] == "new 4"
    worker.send({"op": "unload", "model": "changing"})
    assert worker.run("changing", [grey(4)])[0]["reason"] == "model"


def test_the_former_version_serves_while_a_new_one_loads(worker, tmp_path):
    folder = copy("echo", tmp_path).rename(tmp_path / "gated")
    code = (folder / "model.py").read_text()
    worker.load(folder)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (folder / "model.py").write_text(f"open({str(gate)!r}).read()\n" + code.replace("str(", "'new ' + str("))
    worker.send({"op": "load", "model": "gated", "folder": str(folder)})
    # The new version reads the gate, and we have not opened it: it cannot be ready.
    assert worker.run("gated", [grey(3)])[0]["label"] == "3"
    gate.write_text("go")
    assert worker.receive()["op"] == "loaded"
    assert worker.run("gated", [grey(3)])[0]["label"] == "new 3"


PICKY = """
import numpy as np
from . import helper

class Model:
    def __init__(self, folder, manifest):
        self.labels = (folder / "names.txt").read_text().split()
    def predict(self, batch):
        if any(picture.max() > 200 for picture in batch):
            raise helper.TooBright("far too bright")
        print("seen", len(batch))
        box = {"x": 4, "y": 4, "width": 8, "height": np.int64(8), "label": "box", "score": 0.5}
        return [{"label": self.labels[0], "score": np.float32(0.5), "boxes": [box],
                 "extra": {"mean": np.mean(picture), "nan": float("nan")}} for picture in batch]
"""


def test_a_models_code_may_raise_print_import_its_neighbours_and_answer_in_numpy(worker, tmp_path):
    folder = copy("echo", tmp_path).rename(tmp_path / "picky")
    (folder / "model.py").write_text(PICKY)
    (folder / "helper.py").write_text("class TooBright(Exception): pass")
    (folder / "names.txt").write_text("first second")
    assert worker.load(folder)["op"] == "loaded"
    good, bright, other = worker.run("picky", [grey(10), grey(250), grey(20)])
    assert bright == {"error": "the model 'picky' failed on this picture", "reason": "model"}
    assert (good["label"], good["score"], good["extra"]) == ("first", 0.5, {"mean": 10.0, "nan": None})
    assert other["extra"]["mean"] == 20.0
    # The array is 16x16, the picture 32x24: boxes come back in pixels of the picture.
    assert good["boxes"] == [{"x": 8, "y": 6, "width": 16, "height": 12, "label": "box", "score": 0.5}]


def test_answers_that_cannot_be_sent(worker, tmp_path):
    for name, label in (("surrogate", "'\\ud800'"), ("huge", "'x' * 70_000_000")):
        folder = copy("echo", tmp_path).rename(tmp_path / name)
        code = (folder / "model.py").read_text()
        (folder / "model.py").write_text(code.replace("str(round(float(picture.mean())))", label))
        assert worker.load(folder)["op"] == "loaded"
        assert [result["reason"] for result in worker.run(name, [grey(1), grey(2)])] == ["model", "model"]
    assert worker.run("echo", [grey(3)])[0]["label"] == "3"


def test_it_holds_nothing_that_it_does_not_need(worker):
    libraries = {
        os.path.basename(entry.path)
        for entry in psutil.Process(worker.process.pid).memory_maps()
        if ".so" in entry.path
    }
    assert not [name for name in libraries if "tensorflow" in name or "openvino" in name]


def test_stop_ends_it_after_what_was_sent_before(tmp_path):
    with WorkerProcess(tmp_path) as worker:
        worker.load(TEST_MODELS / "slow")
        worker.send({"op": "run", "id": 1, "model": "slow", "slot": 0, "items": worker.put([grey(9)])})
        worker.send({"op": "stop"})
        assert worker.receive()["results"][0]["label"] == "9"
        with pytest.raises(EOFError):
            worker.receive()
        assert worker.process.wait(30) == 0


def test_it_ends_when_the_server_closes_and_ignores_ctrl_c(tmp_path):
    with WorkerProcess(tmp_path) as worker:
        worker.process.send_signal(signal.SIGINT)
        worker.load(TEST_MODELS / "echo")
        assert worker.run("echo", [grey(9)])[0]["label"] == "9"
        worker.socket.close()
        assert worker.process.wait(30) == 0


PARENT = """
import os, signal, subprocess, sys
import bootstrap; bootstrap.provide_package()
from tests.inference.worker.worker_process import WorkerProcess
worker = WorkerProcess(sys.argv[1])
os.set_inheritable(worker.socket.fileno(), True)
# It keeps the socket open: only the kernel can end the worker now.
holder = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL).pid
print(worker.process.pid, holder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_dies_with_its_parent(tmp_path):
    root = TEST_MODELS.parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, env=environment, timeout=60
    )
    worker, holder = map(int, done.stdout.split())
    try:
        assert done.returncode == -signal.SIGKILL
        for _try in range(1000):
            if not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.01)
        else:
            pytest.fail("the worker lives on")
    finally:
        os.kill(holder, signal.SIGKILL)


def test_several_threads_decode_and_keep_the_order(tmp_path):
    with WorkerProcess(tmp_path, "--threads", "4") as worker:
        worker.load(TEST_MODELS / "echo")
        pictures = [grey(level, (640, 480)) for level in range(16)]
        pictures[5] = b"broken"
        results = worker.run("echo", pictures)
        assert [result.get("label", result.get("reason")) for result in results] == [
            *"01234",
            "picture",
            *map(str, range(6, 16)),
        ]


def test_a_crash_is_a_crash(tmp_path):
    with WorkerProcess(tmp_path) as worker:
        worker.load(TEST_MODELS / "crash")
        worker.send({"op": "run", "id": 1, "model": "crash", "slot": 0, "items": worker.put([grey(9)])})
        with pytest.raises((EOFError, ConnectionResetError)):
            worker.receive()
        assert worker.process.wait(30) == -signal.SIGKILL


def test_what_goes_wrong_is_one_line_on_stderr_with_the_place(tmp_path):
    folder = copy("echo", tmp_path)
    (folder / "model.py").write_text(
        PICKY.replace("from . import helper", "").replace("helper.TooBright", "ValueError")
    )
    (folder / "names.txt").write_text("x")
    with WorkerProcess(tmp_path / "cache") as worker:
        worker.load(folder)
        worker.run("echo", [grey(250)])
        worker.process.kill()
        lines = worker.process.stderr.read().decode().splitlines()
    wanted = f"worker {worker.process.pid}: echo: ValueError: far too bright (model.py:"
    assert [line for line in lines if line.startswith(wanted)]


def test_the_arena_is_as_large_as_the_wire_says(tmp_path):
    with WorkerProcess(tmp_path, "--max-bytes", str(wire.SLOT_BYTES)) as worker:
        worker.load(TEST_MODELS / "echo")
        pixels = np.random.default_rng(0).integers(0, 256, (2000, 2500), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "BMP")
        data = stream.getvalue()
        at = (wire.SLOTS * wire.SLOT_BYTES) - len(data)
        worker.arena[at:] = data
        item = {"at": at - wire.SLOT_BYTES, "size": len(data), "form": wire.CONTENT_IMAGE, "rotate": 0}
        worker.send({"op": "run", "id": 1, "model": "echo", "slot": 1, "items": [item]})
        assert worker.receive()["results"][0]["size"] == [2500, 2000]
