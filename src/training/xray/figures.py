"""Say how good the X-ray models are: `python3 src/bootstrap.py training.xray.figures --data pneumoniamnist.npz`.

Trains nothing: network k of each committee has never seen fold k, so the served weights themselves give out-of-fold
predictions for the pictures of those folds. Writes the tables in models/README.md and in each model's card,
between `<!-- figures -->` and `<!-- end of figures -->`, with `--check` only compares.

The intervals are of 95 %, by bootstrap over the pictures. A whole committee sees a new picture with all its
networks where the figures here have one, so they lean to the low side; that the pictures come from the ward of
the training leans to the high.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageserver.errors import ImageServerError
from imageserver.inference.toolkit.xray import NETWORKS
from imageserver.training import cards
from imageserver.training.weights import WEIGHTS
from imageserver.training.xray import data as xray_data
from imageserver.training.xray import scores as xray_scores
from imageserver.training.xray.recipe import ENSEMBLE, FOLDS, MEMBERS, SEED
from imageserver.training.xray.scores import Reals, Whole

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class OutOfFold:
    """One model's out-of-fold logits (n,): for the pictures as they are, and as from another machine."""

    name: str
    parameters: int
    size: int  # bytes of the weights
    seen: Reals
    otherwise: Reals


def predictions(data: xray_data.Dataset, models: Path, name: str, otherwise: Reals) -> OutOfFold:
    """Run each picture through the one network of the committee that was trained without its fold."""
    from imageserver.training.xray import fit
    from imageserver.training.xray import members as xray_members

    network = xray_members.new_network(models, name, SEED)
    path = models / name / WEIGHTS
    seen, changed = [], []
    fold = xray_data.folds(data, FOLDS, SEED)
    for number, weights in enumerate(xray_members.load(path, NETWORKS)):
        network.set_weights(weights)
        seen.append(fit.logits(network, data.images[fold == number]))
        changed.append(fit.logits(network, otherwise[fold == number]))
    return OutOfFold(
        name, NETWORKS * network.count_params(), path.stat().st_size, np.concatenate(seen), np.concatenate(changed)
    )


def answers(data: xray_data.Dataset) -> Whole:
    """(n,) the labels of the pictures that `predictions` are of, fold after fold."""
    fold = xray_data.folds(data, FOLDS, SEED)
    return np.concatenate([data.labels[fold == number] for number in range(NETWORKS)])


def ensemble(members: list[OutOfFold]) -> OutOfFold:
    """The mean of the members' probabilities, given as a logit again, so that 0 is the threshold for all."""

    def mean(logits: list[Reals]) -> Reals:
        p = np.mean([1 / (1 + np.exp(-z.astype(np.float64))) for z in logits], axis=0)
        return np.asarray(np.log(p / (1 - p)))

    return OutOfFold(
        ENSEMBLE,
        sum(member.parameters for member in members),
        sum(member.size for member in members),
        mean([member.seen for member in members]),
        mean([member.otherwise for member in members]),
    )


def _with_interval(measure: Any, scores: Reals, labels: Whole) -> str:
    low, high = xray_scores.interval(measure, scores, labels)
    return f"{measure(scores, labels):.4f} ({low:.4f} to {high:.4f})"


def overview(all_seven: list[OutOfFold], labels: Whole) -> str:
    """The table of models/README.md."""
    lines = [
        "| model | parameters | MB | accuracy | balanced accuracy | AUC | AUC, another machine |",
        "|---|---:|---:|---|---|---|---|",
    ]
    for model in all_seven:
        cells = [
            f"`{model.name}`",
            f"{model.parameters:,}",
            f"{model.size / 1e6:.2f}",
            _with_interval(xray_scores.accuracy, model.seen, labels),
            _with_interval(xray_scores.balanced, model.seen, labels),
            _with_interval(xray_scores.auc, model.seen, labels),
            _with_interval(xray_scores.auc, model.otherwise, labels),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{pictures(labels)}."])


def pictures(labels: Whole) -> str:
    """How many pictures the figures are of."""
    return f"{len(labels):,} pictures of {NETWORKS} of the {FOLDS} folds, {np.sum(labels == 0):,} of them normal"


def card(model: OutOfFold, labels: Whole) -> str:
    """The table of one model's card."""
    lines = ["| out of fold | as they are | as another machine would give them |", "|---|---|---|"]
    for title, measure in (
        ("AUC", xray_scores.auc),
        ("accuracy", xray_scores.accuracy),
        ("balanced accuracy", xray_scores.balanced),
    ):
        seen, otherwise = (_with_interval(measure, scores, labels) for scores in (model.seen, model.otherwise))
        lines.append(f"| {title} | {seen} | {otherwise} |")
    found = [xray_scores.rates(scores, labels) for scores in (model.seen, model.otherwise)]
    for number, title in enumerate(("sensitivity", "specificity")):
        lines.append(f"| {title} | {found[0][number]:.4f} | {found[1][number]:.4f} |")
    lines.append("")
    lines.append(f"{pictures(labels)}. {model.parameters:,} parameters, {model.size / 1e6:.2f} MB on disk.")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit code 1 when `--check` finds other figures, 2 when data or weights are missing."""
    parser = argparse.ArgumentParser(
        prog="python3 src/bootstrap.py training.xray.figures", description="Measure the chest X-ray models."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="pneumoniamnist.npz of MedMNIST v2; its test part is not read"
    )
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="the folder of models")
    parser.add_argument(
        "--check", action="store_true", help="change no file; exit with 1 where one holds other figures"
    )
    given = parser.parse_args(arguments)
    try:
        data = xray_data.load(given.data)
        from imageserver.training.xray import fit

        otherwise = fit.otherwise(data.images, SEED)
        members = [predictions(data, given.models, name, otherwise) for name in MEMBERS]
        all_seven, labels = [*members, ensemble(members)], answers(data)
        for model in all_seven:
            print(f"{model.name:15} {xray_scores.summary(model.seen, labels)}", flush=True)
        same = cards.put(given.models / "README.md", overview(all_seven, labels), given.check)
        for model in all_seven:
            same &= cards.put(given.models / model.name / "README.md", card(model, labels), given.check)
    except (ImageServerError, OSError) as error:
        print(f"xray_figures: {error}", file=sys.stderr)
        return 2
    if given.check and not same:
        print("xray_figures: the files hold other figures: run this without --check", file=sys.stderr)
        return 1
    return 0
