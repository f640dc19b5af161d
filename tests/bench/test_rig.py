"""The model of bench/rig reads what its cameras draw: else every answer there would be wrong, or none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from bench.rig import model
from tests.faults.load import marked

from imageserver.inference.shared import manifest
from imageserver.inference.worker import decode


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    model.write(tmp_path)
    spec = importlib.util.spec_from_file_location("marks", tmp_path / model.NAME / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model(tmp_path, None)


def pixels(data: bytes) -> Any:
    """As the worker hands them to the model."""
    return decode.decode(data, channels=1, least=8, limits=decode.PictureLimits()).pixels.reshape(8, 8, 1)


def test_it_answers_whose_picture_it_is_and_which(loaded: Any) -> None:
    said = [(1, 1), (300, 7), (65535, 2**32 - 1), (0x5555, 0x33333333), (256, 0)]
    found = loaded.predict([pixels(marked(*each)) for each in said])
    assert [each["label"] for each in found] == [f"{mark}.{number}" for mark, number in said]


def test_a_picture_of_two_cameras_is_nobodys(loaded: Any) -> None:
    one, other = pixels(marked(1, 5)), pixels(marked(2, 9))
    one[4:] = other[4:]
    assert loaded.predict([one])[0]["label"] == "unreadable"


def test_its_manifest_is_right(tmp_path: Path) -> None:
    model.write(tmp_path)
    found = manifest.read(tmp_path / model.NAME)
    assert (found.placement.cpus, found.placement.least, found.placement.most) == (model.CPUS, 2, 2)
    assert (found.input.width, found.input.height, found.input.channels) == (8, 8, 1)
