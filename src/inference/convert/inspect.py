"""What a stranger's Keras model expects and gives, as far as it can be seen. For add_model; imports TensorFlow.

A network does not say how its pictures were scaled in training. What gives it away: layers that scale (the values
0..255 go in), the name of a known architecture somewhere inside, and otherwise a guess that is said aloud.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import ModelError
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.slim import tensorflow
from imageserver.inference.worker.backends.keras import (
    LOAD_ERRORS,
    Classifier,
    first_line,
    import_quietly,
    open_network,
)

SCALING_LAYERS = ("Rescaling", "Normalization", "TrueDivide", "Subtract", "Multiply")
LOOKED_AT = 5
"""Layers after the input among which one that scales must be, to count."""

Values = dict[str, Any]
"""Keys of a manifest's [input]: range, order, mean, std."""

FAMILIES: tuple[tuple[str, str, Values], ...] = (
    # keras.applications.*.preprocess_input; the efficient and the v3 families have their scaling inside.
    ("efficientnet", "EfficientNet", {"range": [0.0, 255.0]}),
    ("mobilenetv3", "MobileNetV3", {"range": [0.0, 255.0]}),
    ("convnext", "ConvNeXt", {"range": [0.0, 255.0]}),
    ("densenet", "DenseNet", {"range": [0.0, 1.0], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
    ("mobilenet", "MobileNet", {"range": [-1.0, 1.0]}),
    ("inception", "Inception", {"range": [-1.0, 1.0]}),
    ("xception", "Xception", {"range": [-1.0, 1.0]}),
    ("nasnet", "NASNet", {"range": [-1.0, 1.0]}),
    ("resnet", "ResNet", {"range": [0.0, 255.0], "order": "bgr", "mean": [103.939, 116.779, 123.68]}),
    ("vgg", "VGG", {"range": [0.0, 255.0], "order": "bgr", "mean": [103.939, 116.779, 123.68]}),
)


@dataclass
class Findings:
    """What was found. `model` takes (n, height, width, channels), or channels first, and gives (n, classes)."""

    model: Any
    height: int
    width: int
    channels: int
    layout: str
    classes: int
    values: Values = field(default_factory=lambda: {"range": [0.0, 1.0]})
    scales_itself: bool = False
    activation: str = "none"
    warnings: list[str] = field(default_factory=list)
    took: list[str] = field(default_factory=list)  # what was taken for sure, and by which sign
    input_keys: Values = field(default_factory=dict)  # further ones of [input]
    output_keys: Values = field(default_factory=dict)  # further ones of [output]
    kind: str = "classification"
    preprocessing: str = "stretch"
    exact: float = 1e-3  # how far from 1 the sum of probabilities may be
    max_batch: int | None = None  # None: any
    labels: list[str] = field(default_factory=list)  # that the file itself holds


def check_kind(path: Path, allow_h5: bool) -> None:
    """ModelError unless `path` is, by its name, what `load` can load; nothing is opened."""
    if path.is_dir():
        if path.suffix == ".mlpackage":
            raise ModelError(kinds.refusal(path))
        if not (path / "saved_model.pb").is_file():
            raise ModelError(f"the folder {path.name} is no SavedModel: it holds no saved_model.pb")
    elif kinds.of(path) is not None:
        return
    elif refusal := kinds.refusal(path):
        raise ModelError(refusal)
    elif path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelError(
            f"{path.name} is no model: give an ONNX, TFLite or .keras file, the .xml file of an OpenVINO IR, "
            "the folder of a SavedModel, or an .h5 file"
        )
    elif path.suffix != ".keras" and not allow_h5:
        raise ModelError(
            f"{path.name} is in Keras' old format, which can hold code that runs when it is used; "
            "if you trust whoever made it, repeat the command with --allow-h5 to convert it"
        )


def load(path: Path) -> Classifier:
    """The model in `path`. ModelError when it does not load."""
    tensorflow.require(f"adding {path.name}")
    import_quietly()
    try:
        return Classifier(path.name, open_network(path))
    except LOAD_ERRORS as error:
        raise ModelError(f"{path.name} does not load: {first_line(error)}") from error


def inspect(model: Classifier, size: tuple[int, int] | None) -> Findings:
    """Look at shapes and layers. `size` (width, height) counts where the model leaves it open.

    ModelError when it is no classifier of pictures.
    """
    import tensorflow as tf

    name, shapes = model.name, [tuple(spec.shape) for spec in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ModelError(
            f"{name} takes {shapes or 'nothing to be seen'}; needed is one input: (batch, height, width, channels)"
        )
    layout = "nchw" if shapes[0][1] in (1, 3) and shapes[0][3] not in (1, 3) else "nhwc"
    height, width, channels = shapes[0][1:] if layout == "nhwc" else (*shapes[0][2:], shapes[0][1])
    if size is not None:
        width, height = (width or size[0]), (height or size[1])
    if not width or not height:
        raise ModelError(f"{name} takes pictures of any size; say which with --size WIDTHxHEIGHT")
    if channels not in (1, 3):
        raise ModelError(f"{name} takes {channels} channels; supported are 1 (grey) and 3 (colour)")
    inner = (height, width, channels) if layout == "nhwc" else (channels, height, width)
    output = np.asarray(model(tf.zeros((1, *inner))))
    if output.ndim != 2:
        raise ModelError(
            f"{name} gives an array of shape {output.shape} for one picture; a classifier gives one row of scores"
        )
    findings = Findings(model, height, width, channels, layout, output.shape[1])
    if model.is_keras:
        _look_for_scaling(findings, model.network)
    else:
        findings.warnings.append(
            "a SavedModel does not show its layers: 0 to 1 is assumed as the range of pixel values; see --range"
        )
    return findings


def _layers(model: Any) -> Iterator[Any]:
    """All layers and operations (`x / 255` in a functional model), nested ones in their place."""
    for layer in getattr(model, "operations", None) or getattr(model, "layers", []):
        if type(layer).__name__ == "InputLayer":
            continue
        yield layer
        yield from _layers(layer)


def _look_for_scaling(findings: Findings, model: Any) -> None:
    layers = list(_layers(model))
    flat = [layer for layer in layers if not getattr(layer, "layers", None)]
    scaling = next((layer for layer in flat[:LOOKED_AT] if type(layer).__name__ in SCALING_LAYERS), None)
    names = " ".join(
        [str(model.name), *(str(layer.name) for layer in layers if getattr(layer, "layers", None))]
    ).lower()
    known = next(((title, values) for part, title, values in FAMILIES if part in names.replace("_", "")), None)
    if scaling is not None:
        findings.scales_itself = True
        factor = getattr(scaling, "scale", None)
        # Rescaling(2, -1) takes 0..1, Rescaling(1/127.5, -1) takes 0..255.
        findings.values = {"range": [0.0, 1.0] if isinstance(factor, int | float) and factor > 0.05 else [0.0, 255.0]}
    elif known is not None:
        title, values = known
        findings.values = {key: value for key, value in values.items() if findings.channels == 3 or key == "range"}
        findings.scales_itself = title in ("EfficientNet", "MobileNetV3", "ConvNeXt")
        findings.warnings.append(
            f"it looks like a {title}: pixels are prepared as keras.applications does for it; see --range and --order"
        )
    else:
        findings.warnings.append(
            "nothing in the model scales its pixels, so 0 to 1 is assumed; "
            "if it was trained on 0 to 255 or -1 to 1, say so with --range"
        )


def scores_of(model: Classifier, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a model gives for a batch, (n, classes)."""
    import tensorflow as tf

    return np.asarray(model(tf.constant(batch)), np.float32)


def look_at_scores(findings: Findings, scores: NDArray[np.float32]) -> None:
    """Decide the activation from what the model gives for probe pictures, (n, classes); warn where it is missing."""
    if not np.isfinite(scores).all():
        findings.warnings.append(
            "it gives values that are no numbers on test pictures; its range of pixel values is probably another"
        )
        return
    if scores.min() >= 0.0 and scores.max() <= 1.0 + 1e-4:
        if findings.classes > 1 and np.abs(scores.sum(axis=1) - 1.0).max() > findings.exact:
            findings.warnings.append(
                "its scores do not add up to 1, as if each label stood alone; they are taken as they are"
            )
        return
    findings.activation = "softmax" if findings.classes > 1 else "sigmoid"
    findings.warnings.append(
        f"it ends without a softmax (its scores are no probabilities): {findings.activation} is applied after it"
    )
