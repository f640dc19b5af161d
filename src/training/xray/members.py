"""The X-ray models as folders: their code, their weights, and the networks inside. Keras, so below the wall.

A member is a committee of networks, and network k has never seen the pictures of fold k. So whoever has the data
can repeat the out-of-fold figures from the weights that are served, without training anything.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from imageserver.errors import SettingError
from imageserver.training import weights as stored
from imageserver.training.xray.recipe import ENSEMBLE, MEMBERS

Weights = list[NDArray[Any]]


def code(models: Path, name: str) -> ModuleType:
    """The module models/<name>/model.py. SettingError when there is none."""
    path = models / name / "model.py"
    if name not in MEMBERS or not path.is_file():
        raise SettingError(f"{name!r} is not a member of {ENSEMBLE}; the members are {', '.join(MEMBERS)}")
    spec = importlib.util.spec_from_file_location("_xray_" + name.replace("-", "_"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def new_network(models: Path, name: str, seed: int) -> keras.Model:
    """An untrained network of the member: (n, 28, 28, 1) in 0..255 to the logit (n, 1)."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    network: keras.Model = code(models, name).network()
    return network


def halved(weights: Weights) -> Weights:
    """As they are stored: float16. What overflows or vanishes there was no good weight, but a variance may be tiny."""
    return [np.clip(weight, -65504, 65504).astype(np.float16) for weight in weights]


def calibrated(weights: Weights, scale: float, offset: float) -> Weights:
    """The weights of one network whose logit z is to become scale * z + offset: the last two are its dense layer's."""
    kernel, bias = weights[-2], weights[-1]
    return [*weights[:-2], kernel * scale, bias * scale + offset]


def save(folder: Path, networks: list[Weights]) -> None:
    """Write a committee into its folder: float16 arrays in the order of `build().weights`."""
    stored.save(folder, [weight for network in networks for weight in halved(network)])


def load(path: Path, count: int) -> list[Weights]:
    """The weights of the `count` networks of a committee, as float32. TrainingError: the file is missing or no such."""
    arrays = [array.astype(np.float32) for array in stored.load(path)]
    each = len(arrays) // count
    return [arrays[k * each : (k + 1) * each] for k in range(count)]
