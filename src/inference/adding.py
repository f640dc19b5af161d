"""A file that somebody has, made into a model's folder: its manifest, its conversion, its first answer.

Keras' files are looked into by the process that `add_model` runs in, and all others by this one, a program that goes
into a jail first: `--jail TEXT --folder FOLDER --cache FOLDER --options JSON`. It prints lines of JSON:

    {"step": str}      what it does next
    {"say": str}       for who added the model
    {"error": str}     why there is none; it ends then
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imageserver.errors import ImageServerError, ModelError
from imageserver.inference import prepare
from imageserver.inference.convert import process
from imageserver.inference.shared import labels as label_files
from imageserver.inference.shared import lifetime, manifest, weights
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.formats.kinds import Format
from imageserver.inference.shared.manifest import Manifest
from imageserver.jail import entry
from imageserver.jail.rules import Jail

Say = Callable[[str], object]
"""Takes a sentence for who adds the model."""

SURER = 1.5
"""By what factor another reading of a picture has to be surer to be worth a line."""

WARNING = "Warning: "
"""What begins a sentence on what could be otherwise."""

PATHS = ("model", "labels", "picture", "models", "models_cache")
"""Options that are paths, which JSON has as texts."""

NETWORK = "network"
"""The folder for an ONNX file and the files with its weights."""


def main() -> int:
    """The program for files that are not Keras'. Exit code 1: the last line says why."""
    lifetime.end_with_parent()
    parser = argparse.ArgumentParser(prog="adding", description="Looks into a network; add_model starts it.")
    parser.add_argument("--jail", type=Jail.from_text, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--options", type=json.loads, required=True)
    given = parser.parse_args()
    entry.enter(given.jail)
    process.set_environment()
    try:
        add(_options(given.options), given.folder, given.cache, partial(_tell, "step"), partial(_tell, "say"))
    except (ImageServerError, OSError) as error:
        _tell("error", str(error))
        sys.stdout.flush()
        os._exit(1)  # threads of the runtimes must not delay the end
    sys.stdout.flush()
    os._exit(0)


def _tell(kind: str, text: str) -> None:
    print(json.dumps({kind: text}), flush=True)


def _options(given: dict[str, Any]) -> argparse.Namespace:
    """Those of add_model's command line, which came as JSON."""
    for name in PATHS:
        given[name] = Path(given[name]) if given[name] else None
    given["size"] = tuple(given["size"]) if given["size"] else None
    return argparse.Namespace(**given)


def add(options: argparse.Namespace, folder: Path, cache: Path, step: Say, say: Say) -> None:
    """Fill the empty `folder`, whose name is the model's, and the cache. ImageServerError, OSError: a sentence."""
    step("looking into the model")
    build(options, folder, say)
    run(options, folder, cache, step, say)


def run(options: argparse.Namespace, folder: Path, cache: Path, step: Say, say: Say) -> None:
    """Convert the model in `folder`, load it, and ask it about the picture. ImageServerError, OSError: a sentence."""
    step("converting it")
    found = _load(folder, cache, say)
    say(f"It runs in {found.runtime}.")
    if options.picture is not None:
        _show(found, options, say)


def build(options: argparse.Namespace, folder: Path, say: Say) -> None:
    """Fill the model's folder: weights, labels, manifest."""
    foreign = kinds.of(options.model) is not None
    source = _Foreign(options) if foreign else _Keras(options)
    findings = source.findings
    _read_kind(options, findings)
    _read_options(options, findings)
    weights_name = source.copy(folder)
    labels = _labels(options, findings, folder)
    text = _manifest_text(options, folder, findings, weights_name, labels)
    (folder / manifest.FILE).write_text(text, "utf-8")
    # The scores are looked at with pictures prepared as the manifest says, so it is written twice.
    source.look_at_scores(manifest.read(folder))
    (folder / manifest.FILE).write_text(_manifest_text(options, folder, findings, weights_name, labels), "utf-8")
    for sentence in findings.took:
        say(f"- {sentence}.")
    for warning in findings.warnings:
        say(f"{WARNING}{warning}.")


class _Keras:
    """A .keras or .h5 file, or the folder of a SavedModel."""

    def __init__(self, options: argparse.Namespace) -> None:
        from imageserver.inference.convert import inspect

        self._file = options.model
        self._model = inspect.load(options.model)
        self.findings = inspect.inspect(self._model, options.size, _count(options))
        if options.model.suffix in (".h5", ".hdf5"):
            self.findings.warnings.append(
                "an .h5 file can hold code; none was found in this one, "
                "and what is served is the .keras file made of it"
            )

    def copy(self, folder: Path) -> str:
        """Put it into the model's folder; its name there."""
        if not self._model.is_keras:
            shutil.copytree(self._file, folder / "saved_model")
            return "saved_model"
        if self._file.suffix == ".keras":
            shutil.copyfile(self._file, folder / "model.keras")
        else:
            self._model.network.save(folder / "model.keras")
        return "model.keras"

    def look_at_scores(self, made: Manifest) -> None:
        """Run it on probe pictures, and say in the findings what its scores are."""
        from imageserver.inference.convert import convert, detecting, inspect

        batch = convert.probes(made.input)
        if made.kind == "classification":
            inspect.look_at_scores(self.findings, inspect.scores_of(self._model, batch))
        elif made.output.detection is not None:
            detecting.look_at_outputs(self.findings, inspect.answers_of(self._model, batch))


class _Foreign:
    """A network that OpenVINO reads by itself. Methods as of `_Keras`."""

    def __init__(self, options: argparse.Namespace) -> None:
        from imageserver.inference.convert import describe
        from imageserver.inference.convert.network import open_network

        self._file = options.model
        self._network = open_network(options.model)
        self.findings = describe.describe(self._network, options.size, dict(options.constant), _count(options))
        self.findings.took.insert(0, f"{options.model.name} is {self._network.format.title}")

    def copy(self, folder: Path) -> str:
        names = weights.files_of(self._file)
        beside = kinds.of(self._file) is Format.ONNX and len(names) > 1
        # Files with weights have the names that the network gives them, whatever they are: in a folder of their own.
        place = folder / NETWORK if beside else folder
        for file in names:
            mine = file.stem == self._file.stem and file.parent == self._file.parent and not beside
            goal = place / (f"model{file.suffix.lower()}" if mine else file.relative_to(self._file.parent))
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, goal)
        return f"{NETWORK}/{self._file.name}" if beside else f"model{self._file.suffix.lower()}"

    def look_at_scores(self, made: Manifest) -> None:
        from imageserver.inference.convert import comparing, convert, detecting, fitting, inspect

        classifies = made.kind == "classification"
        model = fitting.fit(self._network, made.input, made.output if classifies else None)
        batch = convert.probes(made.input)
        alone = comparing.run_alone(model, batch)
        if comparing.take_any_batch(model, batch, alone) is model:
            self.findings.took.append("it takes one picture at a time, which is what it is given")
            self.findings.max_batch = 1
        if classifies:
            inspect.look_at_scores(self.findings, np.concatenate([outputs[0] for outputs in alone]))
        elif made.output.detection is not None:
            detecting.look_at_outputs(self.findings, alone)


def _count(options: argparse.Namespace) -> int:
    """How many labels were given; 0: none."""
    return len(label_files.read(options.labels)) if options.labels is not None else 0


def _read_kind(options: argparse.Namespace, findings: Any) -> None:
    """What one row of numbers means, where it was said. ModelError where it is none."""
    from imageserver.inference.convert import inspect

    if options.kind in (None, findings.kind):
        return
    if findings.kind != "classification":
        raise ModelError(
            f"{options.model.name} is for {findings.kind}, by its outputs; "
            "--kind is for networks that give one row of numbers"
        )
    findings.kind = options.kind
    findings.took = [text.removesuffix(inspect.AS_CLASSIFIER) for text in findings.took]
    findings.took.append(f"its numbers are read as --kind says: {options.kind}")
    if options.kind == "embedding":
        findings.classes = 0


def _read_options(options: argparse.Namespace, findings: Any) -> None:
    """What was asked for goes before what was found."""
    given = {key: getattr(options, key) for key in ("range", "mean", "std") if getattr(options, key) is not None}
    if given:
        if findings.scales_itself and options.range not in (None, [0.0, 255.0]):
            findings.warnings.append("the model scales its pixels itself, so it most likely wants --range 0,255")
        kept = ("range",) if findings.kind == "classification" else ("range", "order")
        findings.values = {key: findings.values[key] for key in kept if key in findings.values} | given
        findings.warnings = [
            text for text in findings.warnings if "--range" not in text or "scales its pixels itself" in text
        ]
    if options.order is not None:
        findings.values["order"] = options.order


def _labels(options: argparse.Namespace, findings: Any, folder: Path) -> str:
    """The lines of [output] that say the labels; the list goes into the folder."""
    classes = findings.classes
    if options.labels is not None:
        name = "labels.json" if options.labels.suffix == ".json" else "labels.txt"
        shutil.copyfile(options.labels, folder / name)
        count = len(label_files.read(options.labels))
        if classes and count != classes and not (classes == 1 and count == 2):
            more = "; the first of one more is mostly `background`" if classes == count + 1 else ""
            raise ModelError(f"{options.labels.name} has {count} labels, but the model gives {classes} scores{more}")
        return f"labels_file = {json.dumps(name)}"
    if findings.kind == "embedding":
        return ""
    if findings.labels and (len(findings.labels) == classes or (not classes and findings.kind != "classification")):
        (folder / "labels.txt").write_text("\n".join(findings.labels) + "\n", "utf-8")
        shown, more = ", ".join(findings.labels[:3]), ", …" if len(findings.labels) > 3 else ""
        findings.took.append(f"its file names its {len(findings.labels)} labels: {shown}{more}")
        return 'labels_file = "labels.txt"'
    if not classes:
        findings.warnings.append("how many labels it has does not show: give them with --labels")
        return ""
    if findings.kind == "regression":
        findings.warnings.append(f"without --labels its {classes} values are called 'value 0' to 'value {classes - 1}'")
        return ""
    # A classifier's single score is that of the second of two.
    count = max(classes, 2) if findings.kind == "classification" else classes
    findings.warnings.append(f"without --labels its {count} classes are called 'class 0' to 'class {count - 1}'")
    return f"classes = {count}"


def _manifest_text(options: argparse.Namespace, folder: Path, findings: Any, weights_name: str, labels: str) -> str:
    values = {"order": "rgb", **findings.values} if findings.channels == 3 else findings.values
    lines = [
        f"title = {json.dumps(options.title or folder.name, ensure_ascii=False)}",
        'description = ""',
        f"kind = {json.dumps(findings.kind)}",
        *(f"{key} = {json.dumps(value)}" for key in ("license", "source") if (value := getattr(options, key))),
        "",
        "[input]",
        f"width = {findings.width}",
        f"height = {findings.height}",
        f"channels = {findings.channels}",
        f"layout = {json.dumps(findings.layout)}",
        *(f"{key} = {_toml(value)}" for key, value in {**values, **findings.input_keys}.items()),
        f"preprocessing = {json.dumps(options.preprocessing or findings.preprocessing)}",
        "",
        "[output]",
        *filter(None, [labels]),
        f"activation = {json.dumps(findings.activation)}",
        *(f"{key} = {_toml(value)}" for key, value in {**findings.output_keys, **options.output}.items()),
        "",
        "[batch]",
        f"max_batch = {min(options.max_batch, findings.max_batch or options.max_batch)}",
        "max_delay_ms = 2",
        "",
        "[runtime]",
        'runtime = "auto"',
        f"weights = {json.dumps(weights_name)}",
        f"sha256 = {json.dumps(weights.digest(folder / weights_name))}",
    ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value of a manifest, as TOML has it: JSON, but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def _load(folder: Path, cache: Path, say: Say) -> Any:
    """Load the new model as a worker would; its conversion is in the cache afterwards."""
    from imageserver.inference.worker import loader
    from imageserver.inference.worker.context import LoadContext

    found = manifest.read(folder)
    said = prepare.prepare(found, cache)
    if said:
        say(f"The model {folder.name!r} {said}.")
    note = lambda text: print(text, file=sys.stderr)  # noqa: E731
    return loader.load(folder, LoadContext(note, os.cpu_count() or 1, cache))


def _show(found: Any, options: argparse.Namespace, say: Say) -> None:
    """Print the top five of the picture, and whether another reading of its pixels gives a much surer answer."""
    from imageserver.inference.worker.predictor import PictureJob

    result = found.run([PictureJob(memoryview(options.picture.read_bytes()), 0)])[0]
    if "error" in result:
        raise ModelError(f"{options.picture.name}: {result['error']}")
    say(f"{options.picture.name}:")
    if "boxes" in result:
        for box in result["boxes"]:
            place = f"{box['width']}x{box['height']} at {box['x']}, {box['y']}"
            say(f"  {box['score']:.4f}  {box['label']}, {place}")
        say(f"  {len(result['boxes'])} boxes")
    elif found.manifest.kind != "classification":
        say(f"  {json.dumps(result)[:200]}")
    else:
        for label in result["labels"]:
            say(f"  {label['score']:.4f}  {label['label']}")
        for advice in _other_readings(found, options, result):
            say(advice)


def _other_readings(found: Any, options: argparse.Namespace, result: Any) -> list[str]:
    """What would be answered with another range or order of colours, where that is another label and much surer."""
    from imageserver.inference.worker.predictor import Network, PictureJob

    now = found.manifest.input
    others = [
        (f"--range {low},{high}", replace(now, range=(low, high), mean=(), std=()))
        for low, high in ((0, 1), (-1, 1), (0, 255))
    ]
    if now.channels == 3:
        order = "bgr" if now.order == "rgb" else "rgb"
        others.append((f"--order {order}", replace(now, order=order)))
    advice = []
    for option, other in others:
        network = Network(replace(found.manifest, input=other), found.backend, found.context)
        said = network.run([PictureJob(memoryview(options.picture.read_bytes()), 0)])[0]
        if said.get("label") != result["label"] and said.get("score", 0.0) > SURER * result["score"]:
            advice.append(
                f"With {option} it would be {said['label']} ({said['score']:.4f}): "
                "if that is right, repeat with --replace."
            )
    return advice
