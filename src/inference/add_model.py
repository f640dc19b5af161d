"""Add a Keras model: `python3 src/inference/add_model.py my.keras --labels labels.txt --try cat.jpg`.

Looks into the model, writes models/<name>/ with a manifest, converts it, and shows what it says about a picture.
A running server notices the new folder by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent
if not __package__:
    # Run as a file: its own folder must not be where imports look first, src/ must.
    sys.path[0] = str(SOURCE)
    import bootstrap

    bootstrap.start(("tensorflow", "openvino", "cv2"))

from imageserver import files, folders
from imageserver.errors import ImageServerError, ModelError
from imageserver.inference import prepare
from imageserver.inference.convert import process
from imageserver.inference.shared import conversion_cache, manifest, progress, weights
from imageserver.inference.shared import labels as label_files
from imageserver.inference.shared.registry import ADDING

SURER = 1.5
"""By what factor another reading of a picture has to be surer to be worth a line."""


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: the model is there and works; 1: a sentence on standard error says why not."""
    known = parser()
    options = known.parse_args(argv)
    process.set_environment()
    try:
        add(options)
    except (ImageServerError, OSError) as error:
        print(f"{known.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Add a Keras model that classifies pictures to the server's models.")
    parser.add_argument(
        "model", type=Path, help="a .keras file, the folder of a SavedModel, or an .h5 file with --allow-h5"
    )
    parser.add_argument("--labels", type=Path, help="text file with a label in each line, or JSON as Keras has it")
    parser.add_argument("--try", type=Path, dest="picture", help="a picture to classify afterwards")
    parser.add_argument("--name", help="the model's name (default: from the file's)")
    parser.add_argument("--title", help="what people read (default: the name)")
    parser.add_argument(
        "--range", type=_range, metavar="LOW,HIGH", help="what the pixel values 0 to 255 become: 0,1 or -1,1 or 0,255"
    )
    parser.add_argument("--order", choices=("rgb", "bgr"), help="the order of the colours (default: rgb)")
    parser.add_argument(
        "--preprocessing", choices=("stretch", "crop", "letterbox"), default="stretch", help="how pictures get its size"
    )
    parser.add_argument("--size", type=_size, metavar="WIDTHxHEIGHT", help="for models that take any size")
    parser.add_argument(
        "--max-batch", type=int, default=8, help="pictures that run together at most (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-h5", action="store_true", help="convert an .h5 file; only if you trust whoever made it"
    )
    parser.add_argument("--replace", action="store_true", help="replace a model of the same name")
    parser.add_argument(
        "--models", type=Path, default=folders.MODELS, help="the models folder (default: the project's)"
    )
    parser.add_argument(
        "--models-cache",
        type=Path,
        default=conversion_cache.cache_folder(),
        help="for converted models (default: %(default)s)",
    )
    return parser


def _range(text: str) -> list[float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH; for example 0,1") from None
    return [low, high]


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT; for example 224x224")
    return int(match[1]), int(match[2])


def add(options: argparse.Namespace) -> None:
    """Do all of it. ImageServerError or OSError with a sentence when it cannot be done; nothing is left behind then."""
    from imageserver.inference.convert import inspect

    if not options.model.exists():
        raise ModelError(f"there is no {options.model}")
    inspect.check_kind(options.model, options.allow_h5)
    for file, option in ((options.picture, "--try"), (options.labels, "--labels")):
        if file is not None and not file.is_file():
            raise ModelError(f"there is no file {file}, which {option} names")
    if not options.models.is_dir():
        raise ModelError(f"there is no models folder {options.models}")
    name = options.name or re.sub(r"[^a-z0-9_-]+", "-", options.model.stem.lower()).strip("-_")
    target = options.models / name
    manifest.check_name(target / manifest.FILE, name)
    if target.exists() and not options.replace:
        raise ModelError(f"there is a model {name!r} already: choose another --name, or say --replace")
    with files.making(options.models, ADDING) as parent, progress.shown(f"Adding {name}") as step:
        folder = parent / name
        folder.mkdir()
        step(None, "looking into the model")
        _build(options, folder)
        step(None, "converting it")
        found = _load(options, folder)
        files.publish(folder, target)
    print(f"The model {name!r} is in {target} ({found.runtime}). A running server finds it within two seconds.")
    print("Check model.toml there: what could only be guessed is what the warnings above are about.")
    if options.picture is not None:
        _show(found, options)


def _build(options: argparse.Namespace, folder: Path) -> None:
    """Fill the model's folder: weights, labels, manifest."""
    from imageserver.inference.convert import convert, inspect

    model = inspect.load(options.model)
    findings = inspect.inspect(model, options.size)
    if options.range is not None:
        if findings.scales_itself and options.range != [0.0, 255.0]:
            findings.warnings.append("the model scales its pixels itself, so it most likely wants --range 0,255")
        findings.values = {"range": options.range}
        findings.warnings = [
            text for text in findings.warnings if "--range" not in text or "scales its pixels itself" in text
        ]
    if options.order is not None:
        findings.values["order"] = options.order
    if options.model.suffix in (".h5", ".hdf5"):
        findings.warnings.append(
            "an .h5 file can hold code; none was found in this one, and what is served is the .keras file made of it"
        )
    if not model.is_keras:
        shutil.copytree(options.model, folder / "saved_model")
    elif options.model.suffix == ".keras":
        shutil.copyfile(options.model, folder / "model.keras")
    else:
        model.network.save(folder / "model.keras")
    weights_name = "model.keras" if model.is_keras else "saved_model"
    labels = _labels(options, findings.classes, folder, findings.warnings)
    text = _manifest_text(options, folder, findings, weights_name, labels)
    (folder / manifest.FILE).write_text(text, "utf-8")
    # The scores are looked at with pictures prepared as the manifest says, so it is written twice.
    inspect.look_at_scores(findings, convert.probes(manifest.read(folder).input))
    (folder / manifest.FILE).write_text(_manifest_text(options, folder, findings, weights_name, labels), "utf-8")
    for warning in findings.warnings:
        print(f"Warning: {warning}.")


def _labels(options: argparse.Namespace, classes: int, folder: Path, warnings: list[str]) -> str:
    """The lines of [output] that say the labels; copies the list into the folder."""
    if options.labels is None:
        count = max(classes, 2)  # a single score is that of the second of two
        warnings.append(f"without --labels its {count} classes are called 'class 0' to 'class {count - 1}'")
        return f"classes = {count}"
    name = "labels.json" if options.labels.suffix == ".json" else "labels.txt"
    shutil.copyfile(options.labels, folder / name)
    count = len(label_files.read(options.labels))
    if count != classes and not (classes == 1 and count == 2):
        raise ModelError(f"{options.labels.name} has {count} labels, but the model gives {classes} scores")
    return f"labels_file = {json.dumps(name)}"


def _manifest_text(options: argparse.Namespace, folder: Path, findings: Any, weights_name: str, labels: str) -> str:
    values = {"order": "rgb", **findings.values} if findings.channels == 3 else findings.values
    lines = [
        f"title = {json.dumps(options.title or folder.name, ensure_ascii=False)}",
        'description = ""',
        'kind = "classification"',
        "",
        "[input]",
        f"width = {findings.width}",
        f"height = {findings.height}",
        f"channels = {findings.channels}",
        f"layout = {json.dumps(findings.layout)}",
        *(f"{key} = {json.dumps(value)}" for key, value in values.items()),
        f"preprocessing = {json.dumps(options.preprocessing)}",
        "",
        "[output]",
        labels,
        f"activation = {json.dumps(findings.activation)}",
        "",
        "[batch]",
        f"max_batch = {options.max_batch}",
        "max_delay_ms = 2",
        "",
        "[runtime]",
        'runtime = "auto"',
        f"weights = {json.dumps(weights_name)}",
        f"sha256 = {json.dumps(weights.digest(folder / weights_name))}",
    ]
    return "\n".join(lines) + "\n"


def _load(options: argparse.Namespace, folder: Path) -> Any:
    """Load the new model as a worker would; its conversion is in the cache afterwards."""
    from imageserver.inference.worker import loader
    from imageserver.inference.worker.context import LoadContext

    found = manifest.read(folder)
    said = prepare.prepare(found, options.models_cache)
    if said:
        print(f"The model {folder.name!r} {said}.")
    note = lambda text: print(text, file=sys.stderr)  # noqa: E731
    return loader.load(folder, LoadContext(note, os.cpu_count() or 1, options.models_cache))


def _show(found: Any, options: argparse.Namespace) -> None:
    """Print the top five of the picture, and whether another reading of its pixels gives a much surer answer."""
    from imageserver.inference.worker.predictor import PictureJob

    result = found.run([PictureJob(memoryview(options.picture.read_bytes()), 0)])[0]
    if "error" in result:
        raise ModelError(f"{options.picture.name}: {result['error']}")
    print(f"{options.picture.name}:")
    for label in result["labels"]:
        print(f"  {label['score']:.4f}  {label['label']}")
    for advice in _other_readings(found, options, result):
        print(advice)


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


if __name__ == "__main__":
    sys.exit(main())
