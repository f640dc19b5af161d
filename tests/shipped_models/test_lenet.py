"""The shipped LeNet through a real worker: file bytes in, a digit out."""

import hashlib
import tomllib

import cv2
import numpy as np
import pytest
from bench.digit_scenes import SCENES, cropped
from tests.inference.worker.worker_process import MODELS, ROOT, WorkerProcess

from imageserver.training.lenet.strokes import draw

FOLDER = MODELS / "lenet"
SAMPLES = ROOT / "clients" / "samples" / "digits"


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    with WorkerProcess(tmp_path_factory.mktemp("cache")) as worker:
        assert worker.load(FOLDER)["op"] == "loaded"
        yield lambda pictures: [result["label"] for result in _run(worker, pictures)]


def _run(worker, pictures):
    return [result for at in range(0, len(pictures), 16) for result in worker.run("lenet", pictures[at : at + 16])]


def coded(picture, kind=".png", *options):
    return cv2.imencode(kind, picture, list(options))[1].tobytes()


def test_the_ten_samples_are_read(lenet):
    assert lenet([(SAMPLES / f"{label}.png").read_bytes() for label in range(10)]) == list("0123456789")


def test_the_ten_samples_are_read_light_on_dark_grey_small_and_as_jpeg(lenet):
    pictures = [cv2.imread(str(SAMPLES / f"{label}.png")) for label in range(10)]
    for change in (
        lambda picture: coded(255 - picture),
        lambda picture: coded(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)),
        lambda picture: coded(cv2.resize(picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)),
        lambda picture: coded(cv2.resize(picture, None, fx=5, fy=5), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 60),
    ):
        assert lenet([change(picture) for picture in pictures]) == list("0123456789")


def test_a_flagged_1_is_no_7_and_a_crossed_7_no_4(lenet):
    rng = np.random.default_rng(11)
    wanted, pictures = [], []
    for label, variants in ((1, (2, 3, 4)), (7, (3, 4, 5, 6))):
        for variant in variants:
            wanted.append(str(label))
            ink = cropped(draw(label, 160, rng, variant=variant, wobble=0.3, width=0.07))
            pictures.append(coded(SCENES["uneven light"](ink, rng), ".jpg"))
    assert lenet(pictures) == wanted


def test_photographs_of_drawings_are_read(lenet):
    rng = np.random.default_rng(5)
    wanted, pictures = [], []
    for make in SCENES.values():
        for label in range(10):
            wanted.append(str(label))
            ink = cropped(draw(label, 160, rng, variant=0, wobble=0.6, width=0.08))
            pictures.append(coded(make(ink, rng), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 80))
    wrong = sum(one != other for one, other in zip(lenet(pictures), wanted, strict=True))
    assert wrong <= len(wanted) // 100  # none when this was written; another build of the libraries may round otherwise


def test_manifest_and_weights_belong_together():
    manifest = tomllib.loads((FOLDER / "model.toml").read_text("utf-8"))
    weights = FOLDER / manifest["runtime"]["weights"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == manifest["runtime"]["sha256"]
    with np.load(weights, allow_pickle=False) as file:
        assert [file[name].shape for name in file.files] == [
            (5, 5, 1, 75), (75,), (5, 5, 75, 100), (100,), (1600, 500), (500,), (500, 10), (10,),
        ]  # fmt: skip
        assert all(file[name].dtype == np.float16 for name in file.files)
