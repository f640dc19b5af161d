"""A foreign network made into what a worker runs: one input of float32 for the picture, outputs of float32.

What a network takes beside the picture becomes part of it, as the manifest gives it. Where it takes other numbers than
float32 it gets them, rounded; what it gives in quantised numbers becomes what these stand for.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Container
from typing import Any

import numpy as np

from imageserver.errors import ModelError
from imageserver.inference.convert.network import ForeignNetwork, TensorPort, gist, name_of
from imageserver.inference.convert.quantisation import output_quantisation
from imageserver.inference.shared.manifest import Input, Output
from imageserver.inference.worker.backends.openvino import errors, library

WHOLE = {"u8": (0, 255), "i8": (-128, 127), "u16": (0, 65535), "i16": (-32768, 32767), "i32": (-(2**31), 2**31 - 1)}
WHOLE |= {"i64": WHOLE["i32"], "u32": (0, 2**31 - 1), "u64": (0, 2**31 - 1)}
"""Kinds of whole numbers, and what of them a picture may hold."""
FRACTIONS = ("f32", "f16", "bf16", "f64")

MOST_NUMBERS = 2**16
"""In a constant input."""


def pictures_in(network: ForeignNetwork) -> list[TensorPort]:
    """The inputs that could take a picture: of four sides, one of them 1 or 3 for the colours."""
    return [
        port for port in network.inputs if port.shape is not None and len(port.shape) == 4 and _channels(port.shape)
    ]


def _channels(shape: tuple[int | None, ...]) -> bool:
    return shape[1] in (1, 3) or shape[3] in (1, 3)


def picture_port(network: ForeignNetwork, name: str, constants: Container[str] = ()) -> TensorPort:
    """The input that takes the picture: the one called `name`, or the only one that can.

    Args:
        network: with its inputs.
        name: "": what the manifest or the file says has to do.
        constants: names of inputs that are given something else.

    Raises:
        ModelError: there is none, or there are several.
    """
    found = [port for port in network.inputs if port.name == name] if name else pictures_in(network)
    found = [port for port in found if port.name not in constants]
    if len(found) == 1:
        return found[0]
    there = ", ".join(map(str, network.inputs[:9])) or "nothing"
    if name:
        raise ModelError(f"{network.name} has no input {name!r}; it takes {there}")
    if not found:
        open_ = any(len(port.shape or ()) == 4 and None in (port.shape or ())[1:] for port in network.inputs)
        more = "; export it with its channels fixed" if open_ else ""
        raise ModelError(
            f"{network.name} takes {there}; needed is a picture: four sides, one of them 1 or 3 colours{more}"
        )
    raise ModelError(
        f"{network.name} takes several pictures: {there}; say which is the camera's with input.name, "
        "or what the others are given with --constant"
    )


def fit(network: ForeignNetwork, wanted: Input, output: Output | None) -> Any:
    """An `openvino.Model` that takes one picture, float32 (1, …), as the manifest says.

    Args:
        network: it is changed, and of no use afterwards.
        wanted: size and layout, and what its other inputs are given.
        output: which output holds the scores of a classifier, (1, classes) afterwards; None: all outputs stay.

    Raises:
        ModelError: the network is none for that; a sentence that begins with its name.
    """
    ov, model = library(), network.model
    port = picture_port(network, wanted.name, dict(wanted.constants))
    inner = _inner(network, port, wanted)
    try:
        _give_constants(network, port, dict(wanted.constants))
        model.reshape({_input(model, port.name): ov.PartialShape([1, *inner])})
        parameter = _as_float32(network, port)
        results = [_plain(found) for found in _chosen(network, output)]
        if output is not None:
            results = [_row(network, results[0])]
        return ov.Model(results, [parameter], network.name)
    except errors() as error:
        if port.shape is not None and port.shape[0] not in (None, 1):
            raise ModelError(
                f"{network.name} takes batches of {port.shape[0]} alone: export it with a batch of 1, or of any size"
            ) from error
        raise ModelError(
            f"{network.name} does not take pictures of {wanted.width}x{wanted.height}: {gist(str(error))}"
        ) from error


def _inner(network: ForeignNetwork, port: TensorPort, wanted: Input) -> list[int]:
    """The sides of one picture as the network takes it. ModelError where the manifest's do not fit."""
    inner = [wanted.height, wanted.width, wanted.channels]
    if wanted.layout == "nchw":
        inner = [wanted.channels, wanted.height, wanted.width]
    have = port.shape
    fits = have is not None and len(have) == 4
    if have is None or not fits or any(a not in (None, b) for a, b in zip(have[1:], inner, strict=True)):
        raise ModelError(
            f"{network.name} takes {port}, but its manifest says {tuple(inner)} (input.layout {wanted.layout!r})"
        )
    return inner


def _input(model: Any, name: str) -> Any:
    return next(found for found in model.inputs if name_of(found) == name)


def _give_constants(network: ForeignNetwork, picture: TensorPort, constants: dict[str, tuple[float, ...]]) -> None:
    """Make the inputs beside the picture part of the network. ModelError where one is missing, or does not fit."""
    others = [port for port in network.inputs if port.name != picture.name]
    if unknown := constants.keys() - {port.name for port in others}:
        there = ", ".join(map(str, others[:9])) or "no other input"
        raise ModelError(f"{network.name} has no input {min(unknown)!r} beside the picture; it has {there}")
    for port in others:
        if port.name not in constants:
            raise ModelError(
                f"{network.name} takes {port} beside the picture: say what it is to be given, "
                "in [input.constants] or by --constant"
            )
        parameter = _input(network.model, port.name).get_node()
        value = library().op.Constant(_filled(network, port, constants[port.name]))
        parameter.output(0).replace(value.output(0))
        network.model.remove_parameter(parameter)


def _filled(network: ForeignNetwork, port: TensorPort, numbers: tuple[float, ...]) -> Any:
    """An `openvino.Tensor` of the input's shape, whose batch is 1, with as many numbers, or one for all of it."""
    shape = [side or 1 for side in port.shape or (len(numbers),)]
    count = math.prod(shape)
    if len(numbers) not in (1, count) or count > MOST_NUMBERS:
        raise ModelError(f"{network.name} takes {port}: {len(numbers)} numbers in input.constants do not fill it")
    ov = library()
    kind = getattr(ov.Type, port.kind)
    return ov.Tensor(np.resize(np.array(numbers), shape).astype(kind.to_dtype()))


def _as_float32(network: ForeignNetwork, port: TensorPort) -> Any:
    """Put an input of float32 in the place of the network's own, with what makes of it what that takes."""
    ov = library()
    ops = importlib.import_module("openvino.opset13")
    old = _input(network.model, port.name)
    new = ops.parameter(old.get_shape(), ov.Type.f32, port.name)
    value = new
    if port.kind in WHOLE:
        value = ops.convert(ops.clamp(ops.round(new, "half_to_even"), *map(float, WHOLE[port.kind])), port.kind)
    elif port.kind not in FRACTIONS:
        raise ModelError(f"{network.name} takes {port}, which is no kind of number that pictures have")
    elif port.kind != "f32":
        value = ops.convert(new, port.kind)
    for target in old.get_node().output(0).get_target_inputs():
        target.replace_source_output(value.output(0))
    return new


def _chosen(network: ForeignNetwork, output: Output | None) -> list[Any]:
    """The results that stay. ModelError where a classifier's is not to be found."""
    results = list(network.model.get_results())
    if output is None:
        return results
    if output.name:
        found = [result for result in results if name_of(result.input_value(0)) == output.name]
    else:
        found = results if len(results) == 1 else [result for result in results if _is_row(result.input_value(0))]
    if len(found) != 1:
        there = ", ".join(map(str, network.outputs[:9]))
        known = f"has no output {output.name!r}; it gives" if output.name else "gives several outputs:"
        raise ModelError(f"{network.name} {known} {there}; say which holds the scores with output.name")
    return found


def _is_row(value: Any) -> bool:
    partial = value.get_partial_shape()
    return bool(partial.is_static and sum(side > 1 for side in partial.to_shape()) == 1)


def _row(network: ForeignNetwork, value: Any) -> Any:
    """Scores in a row for each picture, whatever sides of 1 there are beside. ModelError where it is no row."""
    ops = importlib.import_module("openvino.opset13")
    partial = value.get_partial_shape()
    sides = list(partial.to_shape()) if partial.is_static else []
    if not sides or sum(side > 1 for side in sides) > 1:
        given = tuple(sides) or "no fixed shape"
        raise ModelError(
            f"{network.name} gives an array of {given} for one picture; a classifier gives one row of scores"
        )
    return _named_as(value, ops.reshape(value, [-1, math.prod(sides)], special_zero=False))


def _plain(result: Any) -> Any:
    """What a result gives as float32; quantised numbers become what they stand for."""
    ops = importlib.import_module("openvino.opset13")
    value = result.input_value(0)
    kind = value.get_element_type().to_string()
    if kind == "f32":
        return value
    scale, zero = output_quantisation(value) or (1.0, 0.0)
    number = ops.convert(value, "f32")
    if (scale, zero) != (1.0, 0.0):
        number = ops.multiply(ops.subtract(number, np.float32(zero)), np.float32(scale))
    return _named_as(value, number)


def _named_as(value: Any, node: Any) -> Any:
    """The output of a node, with the names of the value that it stands for from now on."""
    names = set(value.get_names())
    value.get_tensor().set_names(set())
    node.output(0).get_tensor().set_names(names)
    return node.output(0)
