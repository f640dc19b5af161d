"""The X-ray models say when a picture is no chest X-ray. How often, is in models/README.md."""

from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest
from tests.running import ROOT

from imageserver.inference.shared import manifest, weights
from imageserver.inference.worker import loader
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.predictor import Network, PictureJob
from imageserver.training.xray.recipe import FEATURES, MEMBERS

PHOTOGRAPHS = sorted((ROOT / "clients/samples/photos").glob("*.jpg"))
XRAYS = sorted((ROOT / "tests/data/xray").glob("*.png"))


def encoded(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def inputs(model: Network, pictures: list[bytes]) -> list[str | None]:
    return [result.get("input") for result in model.run([PictureJob(memoryview(data), 0) for data in pictures])]


@pytest.fixture(scope="module")
def vgg() -> Network:
    model = loader.load(ROOT / "models/xray-vgg", LoadContext(print))
    assert isinstance(model, Network) and not model.warnings
    return model


def test_xrays_are_like_those_of_the_training_and_photographs_are_not(vgg: Network) -> None:
    assert len(PHOTOGRAPHS) == 4 and len(XRAYS) == 8
    assert inputs(vgg, [path.read_bytes() for path in XRAYS]) == [None] * 8
    assert inputs(vgg, [path.read_bytes() for path in PHOTOGRAPHS]) == ["unlike"] * 4


def test_nor_is_what_shows_nothing_or_the_negative_of_one(vgg: Network) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8)
    pixels = [np.full((200, 200), grey, np.uint8) for grey in (0, 128, 255)]
    pixels += [noise, *(255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in XRAYS[::4])]
    assert inputs(vgg, [encoded(each) for each in pixels]) == ["unlike"] * 6


def test_a_large_or_a_small_file_of_an_xray_is_still_one(vgg: Network) -> None:
    pixels = cv2.imread(str(XRAYS[0]), cv2.IMREAD_GRAYSCALE)
    large = cv2.resize(pixels, (1120, 1120), interpolation=cv2.INTER_CUBIC)
    assert inputs(vgg, [encoded(large), encoded(pixels[:, ::-1])]) == [None, None]


@pytest.mark.parametrize("name", MEMBERS)
def test_each_member_has_what_was_fitted_to_layers_of_its_own(name: str) -> None:
    read = manifest.read(ROOT / "models" / name)
    check = read.input_check
    assert check is not None and check.features == FEATURES[name]
    assert check.sha256 == weights.sha256(check.file)
    assert check.file.stat().st_size < 100_000
    with zipfile.ZipFile(read.folder / "graph.zip") as archive:
        graph = archive.read("graph.xml").decode()
    assert all(f'name="{feature}"' in graph for feature in check.features)


@pytest.mark.long
@pytest.mark.parametrize("name", [*MEMBERS, "xray-ensemble"])
def test_every_model_says_it(name: str) -> None:
    model = loader.load(ROOT / "models" / name, LoadContext(print))
    assert not model.warnings
    found = model.run([PictureJob(memoryview(path.read_bytes()), 0) for path in (*XRAYS, *PHOTOGRAPHS)])
    assert [result.get("input") for result in found] == [None] * 8 + ["unlike"] * 4, json.dumps(found)
