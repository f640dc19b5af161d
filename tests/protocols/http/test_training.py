"""Training over REST: real jobs in processes of their own, cancelled, killed, finished, swapped in under load."""

import json
import os
import shutil
import signal
import threading

import numpy as np
import pytest
import requests
from tests.protocols.http.conftest import RestServer
from tests.protocols.http.short_training import draw_digits, worsen
from tests.running import ROOT, alive, processes, until

from imageserver.inference.shared import conversion_cache

# A training has the lowest priority on purpose, so on a busy machine it takes its time.
pytestmark = pytest.mark.timeout(500)
PATIENCE = 400.0


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return draw_digits(tmp_path_factory.mktemp("mnist") / "mnist.npz")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of its own: there each training leaves a converted model, before which those of others would go."""
    folder, everybodys = tmp_path_factory.mktemp("cache"), conversion_cache.cache_folder()
    for entry in everybodys.glob("lenet-*"):
        shutil.copytree(entry, folder / "imageserver" / entry.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


@pytest.fixture
def own_models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copytree(ROOT / "models" / "lenet", folder / "lenet")
    return folder


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def start(data, own_models, digits, *more, samples=128):
    """A server with LeNet, whose trainings take `samples` pictures."""
    arguments = ("--user", "test_nn:lenet", "--mnist", str(digits), "--training-samples", str(samples), *more)
    return RestServer(*arguments, data=data, models=own_models, model="lenet")


def jobs(server):
    """The process numbers of training jobs."""
    return processes(server, "training.job")


def status(server):
    """The status, once no training runs."""

    def ask():
        answer = server.ask("GET", "/lenet/train/status")
        return answer if answer.status_code != 406 else None

    answer = until(ask, "the end of the training", PATIENCE)
    assert answer.status_code == 200
    return answer.json()


def events_of(server, found):
    """Collect a training's events until it ends."""
    with server.session.get(server.url + "/lenet/train/events", stream=True, timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if found[-1]["state"] not in ("idle", "preparing", "training", "evaluating"):
                    return


def test_what_is_shipped_has_a_status(server):
    found = status(server)
    assert set(found) == {"accuracy", "datetime"}
    assert 99 < float(found["accuracy"]) <= 100
    assert len(found["datetime"]) == 19


def test_events_end_at_once_when_no_training_runs(server):
    answer = server.ask("GET", "/lenet/train/events")
    assert answer.status_code == 200
    assert answer.text.startswith("retry: 10000\n\n")
    assert json.loads(answer.text.partition("data: ")[2])["state"] == "idle"


def test_a_training_swaps_its_model_in_under_load(data, own_models, digits, digit):
    worsen(own_models / "lenet")
    file, pixels = digit
    request = {
        "inputs": [{"name": "image", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": pixels.ravel().tolist()}]
    }
    with start(data, own_models, digits, samples=384) as server:
        server.ready()

        def scores():
            answer = server.ask("POST", "/v2/models/lenet/infer", json=request)
            assert answer.status_code == 200, answer.text
            return answer.json()["outputs"][0]["data"]

        before = scores()
        assert server.ask("POST", "/lenet/train").json() == {"text": "training has started"}
        (job,) = jobs(server)
        assert os.getpriority(os.PRIO_PROCESS, job) == 19
        for method, path in (("GET", "/lenet/train"), ("GET", "/lenet/train/status"), ("POST", "/lenet/classify")):
            answer = server.ask(
                method, path, **({"data": file, "headers": {"Content-Type": "image/png"}} if method == "POST" else {})
            )
            assert answer.status_code == 406
            assert "lenet is being trained" in answer.json()["error"]
        heard = []
        listener = threading.Thread(target=events_of, args=(server, heard))
        listener.start()
        # While it trains and while it is swapped in, no inference fails; without pauses they would starve it.
        until(lambda: scores() != before, "the new model", PATIENCE, every=0.1)
        listener.join(PATIENCE)
        steps = [event for event in heard if event["state"] == "training"]
        assert heard[-1]["state"] == "completed"
        assert [event["state"] for event in heard if event["state"] != "training"][-2:] == ["evaluating", "completed"]
        assert steps[-1]["epoch"] == steps[-1]["epochs"]
        assert {"phase", "part", "loss", "accuracy", "seconds_left"} <= set(steps[-1])
        found = status(server)
        assert set(found) == {"accuracy", "datetime"}
        assert server.find(r"training of lenet: .*epoch 1 of .*loss .*accuracy so far .* left")
        assert server.find(r"the new model gets .* it serves from now on")
        assert (data / "models" / "lenet").is_symlink()
        after = scores()
        assert (
            server.ask("POST", "/lenet/classify", data=file, headers={"Content-Type": "image/png"}).status_code == 200
        )
    with start(data, own_models, digits) as server:
        server.ready()
        assert status(server) == found
        assert np.allclose(
            server.ask("POST", "/v2/models/lenet/infer", json=request).json()["outputs"][0]["data"], after, atol=1e-5
        )


@pytest.mark.long  # what it says of them is also seen in test_training_end.py, without TensorFlow
def test_what_does_not_serve_leaves_an_honest_status(data, own_models, digits):
    with start(data, own_models, digits) as server:
        server.ready()
        before = status(server)
        assert server.ask("GET", "/lenet/train?training_sample=mnist").status_code == 200
        found = status(server)
        note = found.pop("note")
        assert found == before
        assert "kept aside" in note
        assert "/" not in note
        assert not (data / "models" / "lenet").exists()
        (kept,) = (data / "models" / ".versions" / "lenet").iterdir()
        assert (kept / "lenet" / "weights.npz").exists()

        assert server.ask("POST", "/lenet/train").status_code == 200
        assert server.ask("POST", "/lenet/train/cancel").status_code == 200
        cancelled = status(server)
        assert "was cancelled" in cancelled.pop("note")
        assert cancelled == before


def test_what_is_killed_leaves_an_honest_status(data, own_models, digits, digit):
    file, _pixels = digit
    with start(data, own_models, digits) as server:
        server.ready()
        before = status(server)
        assert server.ask("POST", "/lenet/train").status_code == 200
        (job,) = jobs(server)
        os.kill(job, signal.SIGKILL)
        killed = status(server)
        assert "ended by signal SIGKILL" in killed.pop("note")
        assert killed == before
        assert (
            server.ask("POST", "/lenet/classify", data=file, headers={"Content-Type": "image/png"}).json()["number"]
            == "7"
        )

        # The job does not outlive a server that is killed, and the next server says what became of it.
        assert server.ask("POST", "/lenet/train").status_code == 200
        (job,) = jobs(server)
        server.process.kill()
        until(lambda: not alive(job), "the end of the job")
    with start(data, own_models, digits) as server:
        assert "ended with the server" in status(server)["note"]


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["--mnist", "absent.npz", "--training-data", "absent"], {"mnist": "absent.npz", "other": "--training-data"}),
        (
            ["--mnist", "broken.npz", "--training-data", "few"],
            {"mnist": "broken.npz", "other": "too few pictures of 0, 1, 2"},
        ),
        ([], {"mnist": "mnist.npz by --mnist", "other": "--training-data"}),
    ],
)
def test_training_data_that_cannot_be_used_is_refused_at_once(
    data, own_models, monkeypatch, tmp_path, arguments, refused
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there: no network
    (data / "broken.npz").write_bytes(b"no numpy file")
    (data / "few").mkdir()
    with RestServer("--user", "test_nn:lenet", *arguments, data=data, models=own_models, model="lenet") as server:
        for sample, words in refused.items():
            answer = server.ask("POST", f"/lenet/train?training_sample={sample}")
            assert answer.status_code == 406
            assert words in answer.json()["error"]
            assert str(tmp_path) not in answer.json()["error"]
        assert "came to nothing" in status(server)["note"]


def test_training_takes_the_role_admin(data, own_models, digits):
    from imageserver.accounts.database import UserDB

    UserDB(data / "users.db").add("camera", "secret", ["camera"])
    with RestServer("--mnist", str(digits), data=data, models=own_models, model="lenet") as server:
        for method, path in (("GET", "/lenet/train"), ("POST", "/lenet/train"), ("POST", "/lenet/train/cancel")):
            answer = server.ask(method, path, auth=("camera", "secret"))
            assert (answer.status_code, "admin" in answer.json()["error"]) == (403, True)
        assert server.ask("GET", "/lenet/train/status", auth=("camera", "secret")).status_code == 200
        # Once a user exists, credentials are checked even without -a.
        assert requests.get(server.url + "/list_nn", auth=("any", "body"), timeout=60).status_code == 401
