"""A network from its `graph.zip` and its weights (shared/slim/graph.py): OpenVINO's, with no TensorFlow anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imageserver.errors import ModelError
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.slim import graph
from imageserver.inference.shared.slim.graph import Graph, Note
from imageserver.inference.worker.backends import arrays
from imageserver.inference.worker.backends.arrays import Array, Shape
from imageserver.inference.worker.backends.keras import LOAD_ERRORS, check_scores, first_line


def load(manifest: Manifest, note: Note) -> Any | None:
    """An openvino.Model with the model's weights in it; None where there is no graph that counts.

    Args:
        note: told of a graph that does not count.

    Raises:
        ModelError: the weights do not fit, or what it gives does not fit the manifest.
    """
    found = graph.find(manifest, note)
    if found is None:
        return None
    weights = manifest.runtime.weights
    assert weights is not None
    try:
        model = filled(found, lambda shapes: arrays.read(weights, shapes))
    except LOAD_ERRORS as error:
        raise ModelError(
            f"the weights {weights.name!r} of the model {manifest.name!r} do not load: {first_line(error)}"
        ) from error
    shape = model.output(0).partial_shape
    check_scores(manifest, [None if size.is_dynamic else size.get_length() for size in shape])
    return model


def filled(found: Graph, read: Callable[[list[Shape]], list[Array]]) -> Any:
    """An openvino.Model of the graph, with arrays in the place of the parameters for them.

    Args:
        read: gives the arrays of these shapes; raises what `arrays.read` does.
    """
    import openvino

    model = openvino.Core().read_model(model=found.xml, weights=found.constants)
    _picture, *weights = model.get_parameters()
    weights.sort(key=lambda parameter: int(parameter.get_friendly_name().rpartition("_")[2]))
    shapes = [tuple(parameter.get_partial_shape().to_shape()) for parameter in weights]
    for parameter, array in zip(weights, read(shapes), strict=True):
        parameter.output(0).replace(openvino.op.Constant(array).output(0))
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return model
