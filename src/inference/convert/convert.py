"""Any network to OpenVINO, and the comparison of both. For Keras' imports TensorFlow: never runs in a worker.

The converted model has to give the same label, and scores within a tolerance, on probe pictures: flat, gradients,
noise fine and coarse. It is compared on the processor and at the precision with which it will run.
"""

from __future__ import annotations

import fcntl
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import ModelError
from imageserver.inference.convert import comparing, fitting
from imageserver.inference.convert.network import open_network
from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared.conversion_cache import Entry, Report
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.manifest import Input, Manifest
from imageserver.inference.worker import results
from imageserver.inference.worker.backends.keras import first_line, import_quietly, load_function
from imageserver.inference.worker.backends.openvino import OpenVINO, library

NO_NUMBERS = (
    "the network gives values that are no numbers for test pictures: its weights are damaged, or input.range is wrong"
)
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}


def convert(manifest: Manifest, weights_digest: str, cache: Path) -> Entry:
    """Convert, compare, and put both model and verdict into the cache; returns what is there already if it is.

    ModelError when the model does not load; OSError when the cache cannot be written.
    """
    folder = conversion_cache.entry_folder(cache, manifest, weights_digest)
    note = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (cache / f".{folder.name}.lock").open("w") as lock:
        # Several workers start at once and want the same model: one converts, the others find it done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        entry = conversion_cache.find(folder, note) or _convert(manifest, folder)
        conversion_cache.prune(cache, manifest.name, folder)
        Path(lock.name).unlink(missing_ok=True)
    return entry


def _convert(manifest: Manifest, folder: Path) -> Entry:
    weights = manifest.runtime.weights
    assert weights is not None
    make = _of_keras if kinds.of(weights) is None else _of_foreign
    with conversion_cache.making(folder) as made:
        report = make(manifest, made / conversion_cache.MODEL)
        conversion_cache.write_report(made, report)
    return Entry(folder, report)


def _of_keras(manifest: Manifest, path: Path) -> Report:
    import_quietly()
    function = load_function(manifest)
    import openvino

    try:
        model = to_openvino(function)
    except ModelError as error:
        # Kept like a model that differs, so that it is not tried again at every start.
        return Report(False, str(error), 0.0)
    for output, name in zip(model.outputs, function.names, strict=False):
        output.get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)
    return (_compare_all if function.names else _compare)(manifest, function, path)


def _of_foreign(manifest: Manifest, path: Path) -> Report:
    """From a file that OpenVINO reads by itself; compared is what comes of it with the network as it was read.

    ModelError: it is damaged, or none for this manifest.
    """
    assert manifest.runtime.weights is not None
    classifies = manifest.kind == "classification"
    network = open_network(manifest.runtime.weights)
    model = fitting.fit(network, manifest.input, manifest.output if classifies else None)
    batch = probes(manifest.input)
    alone = comparing.run_alone(model, batch)
    library().save_model(comparing.take_any_batch(model, batch, alone), path, compress_to_fp16=False)
    ours = OpenVINO(path, manifest.runtime.precision, 1)
    answers = []
    for part in batch[:, np.newaxis] if ours.single else [batch]:
        answers += comparing.split([np.array(found) for found in ours.run_all(part)], len(part))
    tolerance = TOLERANCE[manifest.runtime.precision]
    if classifies:
        _check_labels(network.name, alone[0][0].shape[1], len(manifest.output.labels))
        theirs, mine = (np.concatenate([each[0] for each in both]) for both in (alone, answers))
        activation = manifest.output.activation
        return judge(results.activate(theirs, activation), results.activate(mine, activation), tolerance)
    return _judge_all(alone, answers, tolerance)


def _check_labels(name: str, scores: int, labels: int) -> None:
    if labels and scores != labels and not (scores == 1 and labels == 2):
        raise ModelError(f"{name} gives {scores} scores, but its manifest has {labels} labels")


def to_openvino(function: Any) -> Any:
    """An openvino.Model of a concrete tf.function. ModelError with a sentence where OpenVINO has none."""
    import openvino

    try:
        return openvino.convert_model(function)
    except Exception as error:
        missing = re.search(r"No conversion rule found for operations: (.+)", str(error))
        reason = f"it has no {missing[1].strip()[:200]}" if missing else first_line(error)
        raise ModelError(f"OpenVINO cannot convert it: {reason}") from error


def _compare(manifest: Manifest, function: Any, path: Path) -> Report:
    import tensorflow as tf

    batch = probes(manifest.input)
    activation = manifest.output.activation
    theirs = results.activate(np.asarray(function(tf.constant(batch))), activation)
    ours = results.activate(OpenVINO(path, manifest.runtime.precision, 1).run(batch), activation)
    return judge(theirs, ours, TOLERANCE[manifest.runtime.precision])


def _compare_all(manifest: Manifest, function: Any, path: Path) -> Report:
    """The same of a network that finds boxes: every number that it gives."""
    import tensorflow as tf

    batch = probes(manifest.input)
    theirs = [np.asarray(output) for output in function(tf.constant(batch))]
    ours = OpenVINO(path, manifest.runtime.precision, 1)
    return _judge_all([theirs], [ours.run_all(batch)], TOLERANCE[manifest.runtime.precision])


def _judge_all(original: comparing.Answers, other: comparing.Answers, tolerance: float) -> Report:
    """Compare all that was given."""
    difference = comparing.difference(original, other)
    if difference <= tolerance:
        return Report(True, "", difference)
    if not all(np.isfinite(found).all() for each in original for found in each):
        return Report(False, NO_NUMBERS, 0.0)
    return Report(False, f"it differs by {difference:.2g} where {tolerance:g} is allowed", difference)


def judge(original: NDArray[Any], other: NDArray[Any], tolerance: float) -> Report:
    """Compare scores (n, classes) of both. Scores that are no probabilities count relative to the largest."""
    if not np.isfinite(original).all():
        return Report(False, NO_NUMBERS, 0.0)
    if original.shape != other.shape or not np.isfinite(other).all():
        return Report(
            False, "the converted model gives something else", float("inf") if original.shape == other.shape else 0.0
        )
    difference = float(np.abs(original - other).max() / max(1.0, float(np.abs(original).max())))
    if difference > tolerance:
        return Report(
            False, f"the converted model differs by {difference:.2g} where {tolerance:g} is allowed", difference
        )
    if original.shape[1] > 1 and (original.argmax(axis=1) != other.argmax(axis=1)).any():
        return Report(False, "the converted model gives other labels", difference)
    return Report(True, "", difference)


def probes(wanted: Input) -> NDArray[np.float32]:
    """Eight pictures as the model takes them: float32 (8, height, width, channels), or channels first, in its range."""
    from imageserver.inference.worker.predictor import Scaling
    from imageserver.inference.worker.preprocessing.base import resize

    random = np.random.default_rng(8)
    height, width, channels = wanted.height, wanted.width, wanted.channels
    across = np.linspace(0, 255, width)[np.newaxis, :, np.newaxis]
    down = np.linspace(0, 255, height)[:, np.newaxis, np.newaxis]
    shape = (height, width, channels)
    coarse = [
        resize(random.integers(0, 256, (side, side, channels), np.uint8), width, height).reshape(shape)
        for side in (2, 4, 8)
    ]
    pictures = [np.zeros(1), np.full(1, 255.0), across, down, random.integers(0, 256, shape), *coarse]
    batch = np.stack([np.broadcast_to(picture, shape) for picture in pictures]).astype(np.float32)
    scaling = Scaling(wanted)
    return scaling.arrange(scaling.apply(batch))
