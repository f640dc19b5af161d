"""Makes `graph.zip` (shared/slim/graph.py): the network that a model's code builds, for OpenVINO.

Imports TensorFlow.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from imageserver.errors import ModelError
from imageserver.inference.convert.convert import TOLERANCE, judge, probes, to_openvino
from imageserver.inference.shared.conversion_cache import Report
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.slim import graph
from imageserver.inference.shared.slim.graph import Graph
from imageserver.inference.worker.backends.graph import filled
from imageserver.inference.worker.backends.keras import first_line, import_quietly
from imageserver.inference.worker.backends.openvino import OpenVINO, library
from imageserver.inference.worker.model_api import load_code


def write(manifest: Manifest) -> Path:
    """Build the network and write its graph beside it. ModelError with a sentence where there is none; OSError."""
    made = make(manifest)
    found = [f"{name} {version(name)}" for name in ("openvino", "keras")]
    return graph.write(manifest, made, ", ".join(found))


def make(manifest: Manifest) -> Graph:
    """The graph of what model.py builds, compared with it. ModelError with a sentence."""
    if not graph.fits(manifest):
        raise ModelError(
            f"the model {manifest.name!r} is no network in code with weights in an .npz or .h5 file, so it has no graph"
        )
    import_quietly()
    import keras

    keras.utils.clear_session()  # names of layers count from one
    try:
        network = load_code(manifest).build()
    except Exception as error:
        raise ModelError(f"build() of the model {manifest.name!r} fails: {first_line(error)}") from error
    model = to_openvino(_function(manifest, network))
    for number, operation in enumerate(model.get_ordered_ops()):
        if operation.get_type_name() != "Parameter":  # else a name is what the process has counted
            operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, graph.GRAPH)
        library().save_model(model, path, compress_to_fp16=False)
        made = Graph(path.read_bytes(), path.with_name(graph.CONSTANTS).read_bytes())
    report = _compare(manifest, network, made)
    if not report.good:
        raise ModelError(f"the model {manifest.name!r} gets no graph: {report.reason}")
    return made


def _compare(manifest: Manifest, network: Any, made: Graph) -> Report:
    """Both on the probe pictures, with the weights that the network begins with: they say the same of any."""
    import tensorflow as tf

    model = filled(made, lambda _shapes: network.get_weights())
    batch = probes(manifest.input)
    ours = OpenVINO(model, "float32", 1).run(batch)
    return judge(np.asarray(network(tf.constant(batch), training=False)), ours, TOLERANCE["float32"])


def _function(manifest: Manifest, network: Any) -> Any:
    """The network as a concrete tf.function of a batch and of each of its weights, any batch size."""
    import keras
    import tensorflow as tf

    wanted, weights = manifest.input, network.weights
    inner = (wanted.height, wanted.width, wanted.channels)
    if wanted.layout == "nchw":
        inner = (wanted.channels, wanted.height, wanted.width)

    def run(batch: Any, *arrays: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(weights, arrays, strict=True))):
            return tf.cast(network(batch, training=False), tf.float32)

    arrays = [tf.TensorSpec(weight.shape, tf.float32, f"weight_{number}") for number, weight in enumerate(weights)]
    return tf.function(
        run, input_signature=[tf.TensorSpec((None, *inner), tf.float32, "batch"), *arrays]
    ).get_concrete_function()
