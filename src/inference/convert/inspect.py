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
from imageserver.inference.shared.manifest import MOST_SIDE
from imageserver.inference.shared.outputs import recognition
from imageserver.inference.shared.outputs.recognition import Recognised
from imageserver.inference.shared.outputs.tensor import ANY, Tensor
from imageserver.inference.shared.slim import tensorflow
from imageserver.inference.worker.backends.keras import (
    LOAD_ERRORS,
    KerasNetwork,
    first_line,
    import_quietly,
    open_network,
)

SCALING_LAYERS = ("Rescaling", "Normalization", "TrueDivide", "Subtract", "Multiply")
LOOKED_AT = 5
"""Layers after the input among which one that scales must be, to count."""

AS_CLASSIFIER = ": classification"
"""What ends a sentence about one row of numbers, unless its kind is said."""

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
    """What was found of `model`, which takes (n, height, width, channels), or channels first."""

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

    def take(self, found: Recognised) -> None:
        """Put in what was recognised of a network that gives more than a row of scores."""
        given = dict(found.input)
        self.preprocessing = given.get("preprocessing", "stretch")
        self.values = {key: value for key, value in given.items() if key in ("range", "mean", "std", "order")}
        self.values.setdefault("range", [0.0, 255.0])
        self.kind, self.classes = found.kind, found.classes
        self.output_keys = dict(found.output)
        self.activation = self.output_keys.pop("activation", "none")
        self.took += found.why[1:]  # the first is about the picture
        self.warnings += found.unsure


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


def load(path: Path) -> KerasNetwork:
    """The model in `path`. ModelError when it does not load."""
    tensorflow.require(f"adding {path.name}")
    import_quietly()
    try:
        return KerasNetwork(path.name, open_network(path))
    except LOAD_ERRORS as error:
        raise ModelError(f"{path.name} does not load: {first_line(error)}") from error


def inspect(model: KerasNetwork, size: tuple[int, int] | None, classes: int = 0) -> Findings:
    """Look at shapes and layers.

    Args:
        model: what it takes and gives is looked at by running it once.
        size: width and height, where the model leaves them open.
        classes: how many labels there are; 0: not known.

    Raises:
        ModelError: it takes no pictures, or gives what nothing here reads.
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
    check_size(name, width, height)
    if channels not in (1, 3):
        raise ModelError(f"{name} takes {channels} channels; supported are 1 (grey) and 3 (colour)")
    inner = (height, width, channels) if layout == "nhwc" else (channels, height, width)
    outputs = {key: np.asarray(value) for key, value in model.outputs(tf.zeros((1, *inner))).items()}
    findings = Findings(model, height, width, channels, layout, 0)
    if [output.ndim for output in outputs.values()] == [2]:
        [findings.classes] = [output.shape[1] for output in outputs.values()]
        if model.is_keras:
            _look_for_scaling(findings, model.network)
        else:
            findings.warnings.append(
                "a SavedModel does not show its layers: 0 to 1 is assumed as the range of pixel values; see --range"
            )
    else:
        _recognise(findings, inner, outputs, classes)
    return findings


def check_size(name: str, width: int | None, height: int | None) -> None:
    """ModelError unless pictures can have this size; None: any."""
    if not width or not height:
        raise ModelError(f"{name} takes pictures of any size; say which with --size WIDTHxHEIGHT")
    if max(width, height) > MOST_SIDE:
        raise ModelError(f"{name} takes pictures of {width}x{height}; a side may have {MOST_SIDE} pixels at most")


def _recognise(findings: Findings, inner: tuple[int, ...], outputs: dict[str, NDArray[Any]], classes: int) -> None:
    """What a network is that gives more than a row of scores for one picture. ModelError."""
    model = findings.model
    given = [
        Tensor(name, (ANY, *output.shape[1:]) if output.ndim and len(output) == 1 else output.shape)
        for name, output in outputs.items()
    ]
    try:
        found = recognition.recognise([Tensor("picture", (ANY, *inner))], given, classes)
    except ModelError as error:
        raise ModelError(f"{model.name}: {error}") from error
    findings.take(found)
    scaling = _scaling(list(_layers(model.network))) if model.is_keras else None
    if scaling is not None:
        findings.scales_itself = True
        findings.values = {"order": findings.values.get("order", "rgb"), "range": scaling}
    elif not any("input.mean" in text for text in found.unsure):  # which says the same
        findings.warnings.append(
            "nothing in the model shows how its pictures were scaled, so it is as its format has it; "
            "if it was trained otherwise, say so with --range, --order and --preprocessing"
        )


def _layers(model: Any) -> Iterator[Any]:
    """All layers and operations (`x / 255` in a functional model), nested ones in their place."""
    for layer in getattr(model, "operations", None) or getattr(model, "layers", []):
        if type(layer).__name__ == "InputLayer":
            continue
        yield layer
        yield from _layers(layer)


def _scaling(layers: list[Any]) -> list[float] | None:
    """The range of pixel values of a model whose first layers scale them; None where they do not."""
    flat = [layer for layer in layers if not getattr(layer, "layers", None)]
    found = next((layer for layer in flat[:LOOKED_AT] if type(layer).__name__ in SCALING_LAYERS), None)
    if found is None:
        return None
    factor = getattr(found, "scale", None)
    # Rescaling(2, -1) takes 0..1, Rescaling(1/127.5, -1) takes 0..255.
    return [0.0, 1.0] if isinstance(factor, int | float) and factor > 0.05 else [0.0, 255.0]


def _look_for_scaling(findings: Findings, model: Any) -> None:
    layers = list(_layers(model))
    scaling = _scaling(layers)
    names = " ".join(
        [str(model.name), *(str(layer.name) for layer in layers if getattr(layer, "layers", None))]
    ).lower()
    known = next(((title, values) for part, title, values in FAMILIES if part in names.replace("_", "")), None)
    if scaling is not None:
        findings.scales_itself = True
        findings.values = {"range": scaling}
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


def answers_of(model: KerasNetwork, batch: NDArray[np.float32]) -> list[list[NDArray[Any]]]:
    """Of each picture of a batch what a model gives for it alone."""
    import tensorflow as tf

    return [
        [np.asarray(output) for output in model.outputs(tf.constant(picture[np.newaxis])).values()] for picture in batch
    ]


def scores_of(model: KerasNetwork, batch: NDArray[np.float32]) -> NDArray[np.float32]:
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
        f"it ends without a softmax (its scores are no probabilities): {findings.activation} is applied after it; "
        "if they are no scores, say --kind embedding or --kind regression"
    )
