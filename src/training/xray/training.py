"""Train the X-ray models: `python3 src/bootstrap.py training.xray.training --data pneumoniamnist.npz`.

One model with `--model xray-densenet`, all six without. Train and validation are one set of five folds, and
each model is a committee of networks of which network k was trained without fold k: that gives out-of-fold
predictions. On these, and on the same pictures as another machine would have given them, the logits are
calibrated, for as many normals as pneumonias. What is done is kept in `--work`, so a run that was stopped goes
on where it was. `python3 src/bootstrap.py training.xray.input_check` then fits anew what tells other pictures, and
`training.xray.figures` says how good they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver import files
from imageserver.errors import ImageServerError
from imageserver.inference.shared import progress
from imageserver.inference.toolkit.xray import NETWORKS
from imageserver.training import weights as stored
from imageserver.training.xray import data as xray_data
from imageserver.training.xray import scores
from imageserver.training.xray.recipe import FOLDS, MEMBERS, SEED, Recipe

ROOT = Path(__file__).parents[3]
CODE = [Path(__file__).with_name(f"{part}.py") for part in ("augment", "data", "fit")]
CODE.append(ROOT / "src/inference/toolkit/xray/layers.py")


@dataclass(frozen=True)
class FoldTraining:
    """One network to train: the member's, without the pictures of `fold`."""

    data: Path
    models: Path
    work: Path
    name: str
    fold: int
    division: str
    recipe: Recipe

    @property
    def seed(self) -> int:
        return SEED + 100 * MEMBERS.index(self.name) + self.fold

    @property
    def result(self) -> Path:
        """Where its weights and predictions go: other data, code or recipe have another name."""
        mark = hashlib.sha256(repr((dataclasses.astuple(self.recipe), self.seed, self.division)).encode())
        for path in (self.data, self.models / self.name / "model.py", *CODE):
            mark.update(hashlib.sha256(path.read_bytes()).digest())
        return self.work / f"{self.name}-{self.division}-{self.fold}-{mark.hexdigest()[:12]}.npz"


def train(job: FoldTraining) -> Path:
    """Do the job unless it is done; returns its `result`: weights, and the logits of the fold's pictures, two ways."""
    result = job.result
    if result.is_file():
        return result
    from imageserver.training.xray import fit, members  # TensorFlow, in this process only

    fit.use_one_core()
    data = xray_data.load(job.data)
    inside = division(data, job.division) == job.fold
    network = members.new_network(job.models, job.name, job.seed)
    fit.fit(network, data.images[~inside], data.labels[~inside].astype(np.float32), job.recipe, job.seed)
    weights = members.halved(network.get_weights())
    network.set_weights(weights)
    own = data.images[inside]
    arrays: dict[str, NDArray[Any]] = {f"{index:04d}": weight for index, weight in enumerate(weights)}
    arrays["seen"] = fit.logits(network, own)
    arrays["otherwise"] = fit.logits(network, fit.otherwise(data.images, SEED)[inside])
    files.replace(result, stored.npz(arrays))
    return result


def division(data: xray_data.Dataset, name: str) -> xray_data.Whole:
    """(n,) folds: "folds" at random, "wards" by look."""
    return (xray_data.wards if name == "wards" else xray_data.folds)(data, FOLDS, SEED)


def gather(jobs: list[FoldTraining], key: str) -> xray_data.Reals:
    """(n,) the out-of-fold logits of finished jobs, fold after fold as in `answers`; `key` "seen" or "otherwise"."""
    parts = []
    for job in jobs:
        with np.load(job.result, allow_pickle=False) as file:
            parts.append(file[key])
    return np.concatenate(parts)


def answers(data: xray_data.Dataset, jobs: list[FoldTraining]) -> xray_data.Whole:
    """(n,) the labels that belong to what `gather` returns."""
    fold = division(data, jobs[0].division)
    return np.concatenate([data.labels[fold == job.fold] for job in jobs])


def finish(data: xray_data.Dataset, jobs: list[FoldTraining]) -> scores.Calibration:
    """Calibrate a member's networks together and write them to its folder as one committee."""
    from imageserver.training.xray import members

    both = np.concatenate([gather(jobs, "seen"), gather(jobs, "otherwise")])
    calibration = scores.calibrate(both, np.tile(answers(data, jobs), 2))
    networks = []
    for job in jobs:
        with np.load(job.result, allow_pickle=False) as file:
            raw = [file[name].astype(np.float32) for name in sorted(file.files) if name.isdigit()]
        networks.append(members.calibrated(raw, calibration.scale, calibration.offset))
    members.save(jobs[0].models / jobs[0].name, networks)
    return calibration


def run(jobs: Iterable[FoldTraining], processes: int) -> None:
    """Train what is not trained yet, `processes` networks at a time, one core each: they are too small for more."""
    todo = [job for job in jobs if not job.result.is_file()]
    with (
        progress.shown("Training networks") as step,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        futures = [pool.submit(train, job) for job in todo]
        for count, future in enumerate(as_completed(futures), 1):
            print(f"{count} of {len(todo)} networks trained: {future.result().name}", flush=True)
            step(count / len(todo), f"{count} of {len(todo)}")


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 src/bootstrap.py training.xray.training", description="Train the chest X-ray models."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="pneumoniamnist.npz of MedMNIST v2; its test part is not read"
    )
    parser.add_argument("--model", choices=MEMBERS, help="train this one only (default: all six)")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="the folder of models")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "xray", help="where finished networks are kept")
    parser.add_argument("--processes", type=int, default=2, help="networks trained at a time, one core each")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument(
        "--division",
        choices=("folds", "wards"),
        default="folds",
        help="wards: only measure, holding out what looks alike",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit code 2 when the data or a model is wrong."""
    given = options(arguments)
    recipe = Recipe(epochs=given.epochs)
    names = [given.model] if given.model else list(MEMBERS)
    try:
        data = xray_data.load(given.data)
        given.work.mkdir(parents=True, exist_ok=True)
        jobs = {
            name: [
                FoldTraining(given.data, given.models, given.work, name, fold, given.division, recipe)
                for fold in range(NETWORKS)
            ]
            for name in names
        }
        run([job for fold in range(NETWORKS) for name in names for job in [jobs[name][fold]]], given.processes)
        for name in names:
            for key in ("seen", "otherwise"):
                print(f"{name:15} {key:10}", scores.summary(gather(jobs[name], key), answers(data, jobs[name])))
            if given.division == "folds":
                print(f"{name:15} calibrated", finish(data, jobs[name]), flush=True)
    except ImageServerError as error:
        print(f"xray_training: {error}", file=sys.stderr)
        return 2
    return 0
