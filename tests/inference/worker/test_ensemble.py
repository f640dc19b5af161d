"""Several classifiers as one model."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from imageserver.errors import ManifestError, ModelError
from imageserver.inference.shared import manifest
from imageserver.inference.worker import loader
from imageserver.inference.worker.backends.ensemble import Ensemble
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.predictor import Network, PictureJob
from imageserver.inference.worker.results import Scores


class Backend:
    """Scores that depend on the brightness of what it is given, and a record of what that was."""

    text = "made up"

    def __init__(self, score):
        self.score, self.shapes = score, []

    def run(self, batch):
        self.shapes.append(batch.shape)
        second = self.score(batch.reshape(len(batch), -1).mean(axis=1) / 255)
        return np.stack([1 - second, second], axis=1).astype(np.float32)


def describe(folder: Path, name: str, *, channels=1, size=28, labels='["normal", "pneumonia"]', more="", batch=4):
    path = folder / name
    path.mkdir()
    (path / "model.py").write_text("def build():\n    raise RuntimeError('no runtime here')\n")
    (path / "model.toml").write_text(
        f'kind = "classification"\n[input]\nwidth = {size}\nheight = {size}\nchannels = {channels}\n'
        f"[output]\nlabels = {labels}\n[batch]\nmax_batch = {batch}\n{more}"
    )
    return path


def member(folder, name, score, **options):
    read = manifest.read(describe(folder, name, more='[runtime]\nweights = "weights.npz"', **options))
    return Network(read, Backend(score), LoadContext(print))


def ensemble(folder, members, **options):
    names = ", ".join(f'"{each.manifest.name}"' for each in members)
    return manifest.read(describe(folder, "all", more=f"[ensemble]\nmembers = [{names}]", **options))


def job(value, size=64):
    encoded, data = cv2.imencode(".png", np.full((size, size), value, np.uint8))
    assert encoded
    return PictureJob(memoryview(data.tobytes()), 0)


@pytest.mark.parametrize("threads", [0, 3])
def test_the_scores_are_averaged(tmp_path, threads):
    members = [
        member(tmp_path, "even", lambda x: x),
        member(
            tmp_path, "square", lambda x: x**2, labels='["pneumonia", "normal"]'
        ),  # in another order: its second is normal
        member(tmp_path, "colour", lambda x: x / 2, channels=3, size=20),
    ]
    read = ensemble(tmp_path, members)
    pool = ThreadPoolExecutor(threads) if threads else None
    serving = Ensemble(read, members, LoadContext(print, pool=pool))
    serving.warm()
    results = serving.run([job(51), job(204), PictureJob(memoryview(b"no picture"), 0)])
    for result, x in zip(results, (0.2, 0.8), strict=False):
        pneumonia = (x + (1 - x**2) + x / 2) / 3
        scores = {entry["label"]: entry["score"] for entry in result["labels"]}
        assert scores["pneumonia"] == pytest.approx(pneumonia, abs=1e-5)
        assert scores["normal"] == pytest.approx(1 - pneumonia, abs=1e-5)
        assert result["label"] == max(scores, key=lambda label: scores[label])
        assert result["size"] == [64, 64]
    assert results[2]["reason"] == "picture"
    assert [each.backend.shapes for each in members] == [[(2, 28, 28, 1)], [(2, 28, 28, 1)], [(2, 20, 20, 3)]]
    assert serving.runtime == "3 of 3 members, made up"
    if pool is not None:
        pool.shutdown()


@pytest.mark.parametrize(("votes", "unlike"), [("yn", True), ("ynn", False), ("y-", True), ("--", False)])
def test_half_of_the_members_that_look_at_it_say_whether_a_picture_is_unlike(tmp_path, monkeypatch, votes, unlike):
    members = [member(tmp_path, f"m{number}", lambda x: x) for number in range(len(votes))]
    given = {each.manifest.name: vote for each, vote in zip(members, votes, strict=True)}

    def scores(self, decoded):
        vote = given[self.manifest.name]
        values = np.full((len(decoded), 2), 0.5, np.float32)
        return Scores(values, None if vote == "-" else np.full(len(decoded), vote == "y"))

    monkeypatch.setattr(Network, "scores", scores)
    serving = Ensemble(ensemble(tmp_path, members), members, LoadContext(print))
    assert [result.get("input") for result in serving.run([job(51), job(90)])] == ["unlike" if unlike else None] * 2


def test_members_with_smaller_batches_take_them_in_parts(tmp_path):
    members = [member(tmp_path, "one", lambda x: x, batch=1), member(tmp_path, "four", lambda x: x, batch=4)]
    serving = Ensemble(ensemble(tmp_path, members, batch=4), members, LoadContext(print))
    values = [0, 51, 102, 255]
    results = serving.run([job(value) for value in values])
    found = [{entry["label"]: entry["score"] for entry in result["labels"]}["pneumonia"] for result in results]
    assert found == pytest.approx([value / 255 for value in values], abs=1e-5)
    assert len(members[0].backend.shapes) == 4
    assert len(members[1].backend.shapes) == 1


def dense(folder, name, bias, **options):
    """A network that says the same of every picture; returns its folder."""
    path = describe(folder, name, more='[runtime]\nruntime = "tensorflow"\nweights = "weights.npz"', **options)
    (path / "model.py").write_text(
        "import keras\nfrom keras import layers\n\ndef build():\n"
        "    last = layers.Dense(2, activation='softmax')\n"
        "    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), last])\n"
    )
    np.savez(path / "weights.npz", kernel=np.zeros((784, 2), np.float16), bias=np.array([0, bias], np.float16))
    return path


def context(tmp_path):
    return LoadContext(print, cache=tmp_path / "cache")


@pytest.mark.slow
def test_a_member_that_does_not_load_leaves_the_others_serving(tmp_path):
    dense(tmp_path, "sure", 3.0)
    (dense(tmp_path, "lost", 0.0) / "weights.npz").unlink()
    dense(tmp_path, "other", 0.0, labels='["cat", "dog"]')
    path = describe(tmp_path, "all", more='[ensemble]\nmembers = ["sure", "lost", "other", "nowhere"]')
    serving = loader.load(path, context(tmp_path))
    assert serving.runtime == "1 of 4 members, tensorflow"
    told = [warning.split(":")[0] for warning in serving.warnings]
    assert told == [f"serves without its member {name!r}" for name in ("lost", "other", "nowhere")]
    assert "weights" in serving.warnings[0]
    assert "cat" in serving.warnings[1]
    (result,) = serving.run([job(9)])
    assert result["label"] == "pneumonia"
    assert result["score"] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-4)


def test_no_member_at_all_is_an_error(tmp_path):
    path = describe(tmp_path, "all", more='[ensemble]\nmembers = ["nowhere", "all2"]')
    describe(tmp_path, "all2", more='[ensemble]\nmembers = ["all"]')
    with pytest.raises(ModelError, match="no member of the ensemble 'all' loads.*no network of its own"):
        loader.load(path, context(tmp_path))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ('[ensemble]\nmembers = ["all"]', "other models"),
        ('[ensemble]\nmembers = ["a", "a"]', "each once"),
        ('[ensemble]\nmembers = ["a"]\n[runtime]\nweights = "weights.npz"', "no weights"),
        ('[ensemble]\nmembers = ["a"]\nweight = 1', "unknown key"),
    ],
)
def test_manifests_that_make_no_ensemble(tmp_path, more, reason):
    with pytest.raises(ManifestError, match=reason):
        manifest.read(describe(tmp_path, "all", more=more))
