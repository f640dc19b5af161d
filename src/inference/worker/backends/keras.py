"""Keras models, the source of truth of every network here: load them without executing anything that they hold."""

from __future__ import annotations

import importlib
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from imageserver.errors import ModelError
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.model_api import load_code

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

Function = Any
"""A concrete tf.function: float32 (n, …) to float32 (n, classes), any n."""

LOAD_ERRORS = (
    ValueError,
    TypeError,
    OSError,
    KeyError,
    ImportError,
    AttributeError,
    NotImplementedError,
    zipfile.BadZipFile,
)
"""What Keras and TensorFlow raise about files that they cannot load."""


def import_quietly() -> None:
    """Import TensorFlow without its greetings, which it writes to standard error before any log level counts.

    For commands that people read; it points standard error elsewhere meanwhile, so not where other threads write.
    """
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def load_function(manifest: Manifest) -> Function:
    """The model as one function, traced once for every batch size. ModelError when it does not fit the manifest."""
    import tensorflow as tf

    name, wanted, weights = f"the model {manifest.name!r}", manifest.input, manifest.runtime.weights
    assert weights is not None
    inner: tuple[int, ...] = (wanted.height, wanted.width, wanted.channels)
    if wanted.layout == "nchw":
        inner = (wanted.channels, wanted.height, wanted.width)
    if weights.is_dir():
        owner, call = _saved_model(manifest, weights)
    else:
        owner = load_model(manifest)
        _check_shape(manifest, owner, inner)
        call = lambda batch: owner(batch, training=False)  # noqa: E731
    function = tf.function(
        lambda batch: tf.cast(single_output(name, call(batch)), tf.float32),
        input_signature=[tf.TensorSpec((None, *inner), tf.float32)],
    )
    concrete = function.get_concrete_function()
    concrete.owner = owner  # the function refers to its variables weakly
    shape = concrete.structured_outputs.shape
    if shape.rank != 2:
        raise ModelError(f"{name} gives {shape} for a batch, not one row of scores for each picture")
    labels = len(manifest.output.labels)
    if labels and shape[1] is not None and shape[1] != labels and not (shape[1] == 1 and labels == 2):
        raise ModelError(f"{name} gives {shape[1]} scores, but its manifest has {labels} labels")
    return concrete


def load_model(manifest: Manifest) -> Any:
    """The keras.Model: from a .keras file, or built by model.py and filled from .npz, .weights.h5 or .h5 weights."""
    weights = manifest.runtime.weights
    assert weights is not None
    code = load_code(manifest) if manifest.code.is_file() else None
    try:
        if weights.suffix == ".keras":
            return open_file(weights)
        build = getattr(code, "build", None)
        if build is None:
            raise ModelError(
                f"model.py of the model {manifest.name!r} has no function build(), which {weights.name!r} needs"
            )
        model = build()
        if weights.suffix == ".npz":
            _fill(model, weights)
        else:
            model.load_weights(weights)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"the weights {weights.name!r} of the model {manifest.name!r} do not load: {first_line(error)}"
        ) from error
    return model


def open_file(path: Path) -> Any:
    """The keras.Model in a .keras or .h5 file, whatever code it holds left out.

    Raises:
        one of LOAD_ERRORS, whose gist `first_line` tells.
    """
    import keras

    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        # Keras says "File not found" here.
        raise ValueError("it is no zip archive, as a .keras file is: it may be cut short, or of another kind")
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def open_saved_model(path: Path) -> Any:
    """The serving function of a SavedModel. It is a graph: its operations run, but no Python of its author does.

    Raises:
        one of LOAD_ERRORS, whose gist `first_line` tells.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except tf.errors.OpError as error:
        raise ValueError(first_line(error)) from error
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise ValueError("it has no signature serving_default; export it with model.export()")
    signature.owner = loaded  # which keeps the variables alive
    return signature


def single_output(name: str, output: Any) -> Any:
    """The one tensor of what a model gives. ModelError, which begins with `name`, when there are more."""
    if isinstance(output, dict):
        output = list(output.values())
    if not isinstance(output, list | tuple):
        return output
    if len(output) != 1:
        raise ModelError(f"{name} gives {len(output)} outputs; a classifier gives one")
    return output[0]


def _fill(model: Any, path: Path) -> None:
    """Set the weights from the arrays of an .npz, in the order in which they were written; any float type."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        arrays = [file[name].astype(np.float32) for name in file.files]
    shapes = [tuple(weight.shape) for weight in model.weights]
    if [array.shape for array in arrays] != shapes:
        raise ValueError(f"its {len(arrays)} arrays do not have the shapes of the model's {len(shapes)} weights")
    model.set_weights(arrays)


def _saved_model(manifest: Manifest, folder: Path) -> tuple[Any, Any]:
    """A SavedModel's serving function, and how to call it with a batch."""
    import tensorflow as tf

    name = f"the SavedModel {folder.name!r} of the model {manifest.name!r}"
    try:
        signature = open_saved_model(folder)
    except LOAD_ERRORS as error:
        raise ModelError(f"{name} does not load: {first_line(error)}") from error
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelError(f"{name} takes {len(inputs)} inputs; one picture is what there is")
    [(key, spec)] = inputs.items()
    return signature, lambda batch: signature(**{key: tf.cast(batch, spec.dtype)})


def _check_shape(manifest: Manifest, model: Any, inner: tuple[int, ...]) -> None:
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) > 1:
        raise ModelError(f"the model {manifest.name!r} takes {len(inputs)} inputs; one picture is what there is")
    if inputs:
        shape = tuple(inputs[0].shape)[1:]
        if len(shape) != 3 or any(have is not None and have != want for have, want in zip(shape, inner, strict=True)):
            layout = manifest.input.layout
            raise ModelError(
                f"the model {manifest.name!r} takes {shape}, but its manifest says {inner} (input.layout {layout!r})"
            )


def first_line(error: BaseException) -> str:
    """The gist of an error of Keras or TensorFlow, whose texts go on for pages."""
    if "`Lambda` layer" in str(error):
        return "it holds a Lambda layer, which is code and would run unseen; use Keras' own layers and save it again"
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
