"""Fit what tells chest X-rays from other pictures: `python3 src/bootstrap.py training.xray.input_check --data FILE`.

To the features of each member's first network (recipe.FEATURES) for the training pictures, as they are and as another
machine would have given them: their mean and covariance, and the distance that `FLAGGED` of the training pictures
exceed. Writes `input_check.npz` into the member's folder, and its SHA-256 into the manifest. Photographs take no part
in it.

Then says of how many pictures of each kind the members say that they are unlike. "Held back" are the training
pictures of the first fold, which that network has not seen, by what is fitted to the other folds.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver import files
from imageserver.errors import ImageServerError, SettingError
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared.outputs.input_check import FILE
from imageserver.inference.worker.outputs import input_check
from imageserver.inference.worker.outputs.input_check import FeatureDistance
from imageserver.training import weights as stored
from imageserver.training.xray import data as xray_data
from imageserver.training.xray import strangers
from imageserver.training.xray.recipe import ENSEMBLE, FEATURES, FOLDS, MEMBERS, SEED

ROOT = Path(__file__).parents[3]

FLAGGED = 0.015
"""Of the training pictures as they are. At most 2 % are wanted; some room is left for pictures not seen."""
SHRINKAGE = 0.01
"""Of the covariances towards the variances alone."""

Reals = NDArray[Any]
Features = dict[str, Reals]
"""Of each kind of pictures, (n, d)."""


class Watched:
    """A member's first network as far as its features; OpenVINO leaves out the rest."""

    def __init__(self, folder: Path) -> None:
        from imageserver.inference.worker.backends import features, graph
        from imageserver.inference.worker.backends.openvino import OpenVINO
        from imageserver.inference.worker.context import LoadContext
        from imageserver.inference.worker.predictor import Network

        manifest = manifests.read(folder)
        model = graph.load(manifest, print)
        if model is None or not features.add(model, FEATURES[folder.name]):
            raise SettingError(f"{folder} has no graph.zip with the layers {', '.join(FEATURES[folder.name])}")
        model.remove_result(model.get_results()[0])
        self._network = Network(manifest, OpenVINO(model, "float32", 2), LoadContext(print))
        self._most, wanted = manifest.batch.max_batch, manifest.input
        self.probe: Reals = self._network.features([input_check.probe(wanted.height, wanted.width, wanted.channels)])[0]

    def features(self, images: Reals) -> Reals:
        """Of (n, 28, 28) in 0..255."""
        parts = range(0, len(images), self._most)
        return np.concatenate([self._network.features(list(images[at : at + self._most, ..., None])) for at in parts])


NAMES = ("mean", "whitening", "probe")


def fit(seen: Reals, otherwise: Reals, probe: Reals) -> dict[str, Reals]:
    """The arrays of the file (worker/outputs/input_check.py) for the features of training pictures, (n, d) each."""
    both = np.concatenate([seen, otherwise]).astype(np.float64)
    mean, covariance = both.mean(axis=0), np.cov(both.T)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
    covariance += 1e-9 * np.eye(len(mean)) * np.trace(covariance)  # for features that are always 0
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    distances = np.linalg.norm((seen - mean) @ whitening, axis=1)
    whitening /= np.quantile(distances, 1 - FLAGGED)
    return {name: array.astype(np.float32) for name, array in zip(NAMES, (mean, whitening, probe), strict=True)}


def save(folder: Path, arrays: dict[str, Reals]) -> None:
    """Write the file into the model's folder, and [input_check] with its SHA-256 into the manifest."""
    data = stored.npz(arrays)
    files.replace(folder / FILE, data)
    path = folder / manifests.FILE
    text = re.sub(r"(?ms)\n*^\[input_check\]\n.*?(?=^\[|\Z)", "\n", path.read_text("utf-8")).rstrip()
    names = ", ".join(f'"{name}"' for name in FEATURES[folder.name])
    table = f'[input_check]\nfeatures = [{names}]\nsha256 = "{hashlib.sha256(data).hexdigest()}"'
    files.replace(path, f"{text}\n\n{table}\n".encode())


def flags(found: Features, fold: xray_data.Whole, probe: Reals) -> tuple[dict[str, Reals], dict[str, Reals]]:
    """What is fitted to a member's features, and of each kind of pictures bool (n,): which are unlike."""
    seen, otherwise = found[strangers.SEEN], found[strangers.OTHERWISE]
    arrays = fit(seen, otherwise, probe)
    distance = FeatureDistance(**arrays)
    told = {kind: distance.unlike(features) for kind, features in found.items()}
    rest = FeatureDistance(**fit(seen[fold != 0], otherwise[fold != 0], probe))
    told["held back"] = rest.unlike(seen[fold == 0])
    told["held back, another machine"] = rest.unlike(otherwise[fold == 0])
    return arrays, told


def table(told: dict[str, dict[str, Reals]]) -> str:
    """By model: of each kind the share that is called unlike; of the ensemble where half of its members say so."""
    kinds = next(iter(told.values()))
    told = told | {ENSEMBLE: {kind: np.mean([one[kind] for one in told.values()], axis=0) >= 0.5 for kind in kinds}}
    names = [name.removeprefix("xray-") for name in told]
    lines = [f"| called unlike | pictures | {' | '.join(names)} |", f"|---|---:|{'---:|' * len(names)}"]
    for kind, found in kinds.items():
        shares = " | ".join(f"{one[kind].mean():.1%}" for one in told.values())
        lines.append(f"| {kind} | {len(found):,} | {shares} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit code 2 when data or a model is missing."""
    parser = argparse.ArgumentParser(
        prog="python3 src/bootstrap.py training.xray.input_check",
        description="Fit what tells chest X-rays from other pictures.",
    )
    parser.add_argument("--data", type=Path, required=True, help="pneumoniamnist.npz of MedMNIST v2")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="the folder of models")
    parser.add_argument("--photographs", type=Path, help="a folder of further photographs to judge")
    parser.add_argument("--check", action="store_true", help="change no file, and only judge")
    given = parser.parse_args(arguments)
    try:
        data = xray_data.load(given.data)
        fold, pictures = xray_data.folds(data, FOLDS, SEED), strangers.kinds(data.images, given.photographs, SEED)
        told = {}
        for name in MEMBERS:
            member = Watched(given.models / name)
            found = {kind: member.features(images) for kind, images in pictures.items()}
            arrays, told[name] = flags(found, fold, member.probe)
            if not given.check:
                save(given.models / name, arrays)
            print(f"{name:15} {len(member.probe)} features", flush=True)
        print(table(told))
    except (ImageServerError, OSError) as error:
        print(f"xray_input_check: {error}", file=sys.stderr)
        return 2
    return 0
