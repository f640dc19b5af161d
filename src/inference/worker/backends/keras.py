"""Keras models, the source of truth of every network here: load them without executing anything that they hold."""

from __future__ import annotations

import importlib
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imageserver.errors import ModelError
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.backends import arrays, saved_model, untrusted
from imageserver.inference.worker.model_api import load_code

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

Function = Any
"""A concrete tf.function: float32 (n, …) to float32 (n, classes), or to a list of float32, any n."""

LOAD_ERRORS = (
    ValueError,
    TypeError,
    OSError,
    KeyError,
    ImportError,
    AttributeError,
    RuntimeError,
    RecursionError,
    EOFError,
    struct.error,
    zlib.error,
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


class KerasNetwork:
    """A network as Keras or TensorFlow loaded it, called alike: a batch in, tensors out.

    Args:
        name: what its errors begin with.
        network: a keras.Model, or the serving function of a SavedModel.
    """

    def __init__(self, name: str, network: Any) -> None:
        self.name, self.network = name, network
        signature = getattr(network, "structured_input_signature", None)
        self.is_keras = signature is None
        by_name = signature[1] if signature is not None else {}
        self._names = list(by_name)
        self.inputs: list[Any] = list((getattr(network, "inputs", None) or []) if self.is_keras else by_name.values())

    def outputs(self, batch: Any) -> dict[str, Any]:
        """All tensors that it gives, by their names."""
        import tensorflow as tf

        if self.inputs:
            batch = tf.cast(batch, self.inputs[0].dtype)
        if self.is_keras:
            found = self.network(batch, training=False)
        else:
            found = self.network(**dict.fromkeys(self._names, batch))
        if isinstance(found, dict):
            return dict(sorted(found.items()))  # a SavedModel has them in another order each time
        values = list(found) if isinstance(found, list | tuple) else [found]
        names = getattr(self.network, "output_names", None) or []
        if len(set(names)) != len(values):
            names = [f"output {number}" for number in range(len(values))]
        return dict(zip(names, values, strict=True))

    def __call__(self, batch: Any) -> Any:
        """The one tensor of a classifier. ModelError when it gives more."""
        values = list(self.outputs(batch).values())
        if len(values) != 1:
            raise ModelError(f"{self.name} gives {len(values)} outputs; a classifier gives one")
        return values[0]


def load_function(manifest: Manifest) -> Function:
    """The model as one function, traced once for every batch size. ModelError when it does not fit the manifest.

    One for a classifier gives its scores, one that finds boxes a list of all that its network gives; the attribute
    `names` has what that calls them.
    """
    import tensorflow as tf

    name, wanted = f"the model {manifest.name!r}", manifest.input
    inner: tuple[int, ...] = (wanted.height, wanted.width, wanted.channels)
    if wanted.layout == "nchw":
        inner = (wanted.channels, wanted.height, wanted.width)
    network = KerasNetwork(name, load_network(manifest))
    _check_inputs(network, inner, wanted.layout)
    names: list[str] = []

    def give_all(batch: Any) -> Any:
        found = network.outputs(batch)
        names[:] = found
        return [tf.cast(value, tf.float32) for value in found.values()]

    finds_boxes = manifest.output.detection is not None
    function = tf.function(
        give_all if finds_boxes else lambda batch: tf.cast(network(batch), tf.float32),
        input_signature=[tf.TensorSpec((None, *inner), tf.float32)],
    )
    concrete = function.get_concrete_function()
    concrete.owner = network  # the function refers to its variables weakly
    concrete.names = tuple(names)
    if not finds_boxes:
        shape = concrete.structured_outputs.shape
        check_scores(manifest, None if shape.rank is None else tuple(shape))
    return concrete


def check_scores(manifest: Manifest, shape: Sequence[int | None] | None) -> None:
    """ModelError unless what a network gives fits its manifest.

    Args:
        shape: (n, scores), as far as it is known.
    """
    name = f"the model {manifest.name!r}"
    if shape is None or len(shape) != 2:
        raise ModelError(f"{name} gives {shape} for a batch, not one row of scores for each picture")
    labels = len(manifest.output.labels)
    if labels and shape[1] is not None and shape[1] != labels and not (shape[1] == 1 and labels == 2):
        raise ModelError(f"{name} gives {shape[1]} scores, but its manifest has {labels} labels")


def load_network(manifest: Manifest) -> Any:
    """For `KerasNetwork`: from a file, or built by model.py and filled from .npz, .weights.h5 or .h5 weights."""
    weights = manifest.runtime.weights
    assert weights is not None
    try:
        if weights.is_dir():
            return open_network(weights)
        code = load_code(manifest) if manifest.code.is_file() else None  # also the layers of a .keras file
        if weights.suffix == ".keras":
            return open_network(weights)
        build = getattr(code, "build", None)
        if build is None:
            raise ModelError(
                f"model.py of the model {manifest.name!r} has no function build(), which {weights.name!r} needs"
            )
        if weights.suffix not in (".npz", ".h5", ".hdf5"):
            raise ValueError("weights for model.py are an .npz, .weights.h5 or .h5 file")
        model = build()
        if weights.suffix == ".npz":
            model.set_weights(arrays.read(weights, [tuple(weight.shape) for weight in model.weights]))
        else:
            untrusted.check_hdf5(weights)
            model.load_weights(weights)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"the weights {weights.name!r} of the model {manifest.name!r} do not load: {first_line(error)}"
        ) from error
    return model


def open_network(path: Path) -> Any:
    """For `KerasNetwork`: what a .keras or .h5 file or the folder of a SavedModel holds; nothing in it runs.

    Raises:
        one of LOAD_ERRORS, whose gist `first_line` tells.
    """
    import tensorflow as tf

    if not path.is_dir():
        import keras

        if path.suffix == ".keras":
            untrusted.check_archive(path, keras.saving.get_custom_objects())
        else:
            untrusted.check_whole_hdf5(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    saved_model.check(path)
    try:
        loaded = tf.saved_model.load(str(path))
    except tf.errors.OpError as error:
        raise ValueError(first_line(error)) from error
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise ValueError("it has no signature serving_default; export it with model.export()")
    signature.owner = loaded  # which keeps the variables alive
    return signature


def _check_inputs(network: KerasNetwork, inner: tuple[int, ...], layout: str) -> None:
    """ModelError unless it takes batches of `inner`, as far as it says."""
    if len(network.inputs) > 1:
        raise ModelError(f"{network.name} takes {len(network.inputs)} inputs; one picture is what there is")
    for spec in network.inputs:
        shape = tuple(spec.shape)[1:]
        if len(shape) != 3 or any(have not in (None, want) for have, want in zip(shape, inner, strict=True)):
            raise ModelError(f"{network.name} takes {shape}, but its manifest says {inner} (input.layout {layout!r})")


def first_line(error: BaseException) -> str:
    """The gist of an error of Keras or TensorFlow, whose texts go on for pages."""
    if "`Lambda` layer" in str(error):
        return "it holds a Lambda layer, which is code and would run unseen; use Keras' own layers and save it again"
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
