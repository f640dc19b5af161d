"""Networks in the formats that OpenVINO reads by itself, as small as they get. Needs the package onnx."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {"u8": TensorProto.UINT8, "i8": TensorProto.INT8, "i64": TensorProto.INT64, "f16": TensorProto.FLOAT16}
KINDS |= {"f32": TensorProto.FLOAT, "f64": TensorProto.DOUBLE, "string": TensorProto.STRING}


def value(name, shape, kind="f32"):
    """An input or output; a text in `shape` stands for any number."""
    return helper.make_tensor_value_info(name, KINDS[kind], shape)


def node(operation, inputs, outputs, **attributes):
    """One operation; names are parted by spaces."""
    return helper.make_node(operation, inputs.split(), outputs.split(), **attributes)


def model(nodes, inputs, outputs, arrays, *, opset=17, others=(), texts=None):
    """An ONNX model of opset 17; `others` are names of further domains, `texts` what it says of itself."""
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in others)]
    made = helper.make_model(graph, opset_imports=opsets)
    made.ir_version = 8
    helper.set_model_props(made, texts or {})
    return made


def classifier(arrays, *, shape=("n", 3, 10, 12), kind="f32", softmax=True, flatten=None, **more):
    """The network of keras_models.py in ONNX.

    Args:
        arrays: the weights in Keras' order and shapes: kernel and bias of the convolution, and of the last layer.
        shape: of the picture input.
        kind: of the numbers that it takes.
        softmax: whether it ends with one.
        flatten: a shape to which the features are made, where it is not simply flattened.
    """
    kernel, bias, last, last_bias = arrays
    given = {"kernel": kernel.transpose(3, 2, 0, 1).copy(), "bias": bias, "last": last, "last_bias": last_bias}
    nodes = [node("Cast", "picture", "floats", to=TensorProto.FLOAT)] if kind != "f32" else []
    nodes += [
        node("Conv", "floats kernel bias" if nodes else "picture kernel bias", "convolved"),
        node("Relu", "convolved", "positive"),
        node("GlobalMaxPool", "positive", "features"),
    ]
    if flatten is None:
        nodes.append(node("Flatten", "features", "row"))
    else:
        given["side"] = np.array(flatten, np.int64)
        nodes.append(node("Reshape", "features side", "row"))
    nodes.append(node("Gemm", "row last last_bias", "logits" if softmax else "scores"))
    if softmax:
        nodes.append(node("Softmax", "logits", "scores", axis=1))
    return model(nodes, [value("picture", shape, kind)], [value("scores", (shape[0], 3))], given, **more)


def constant(outputs, *, shape=("n", 3, 64, 96), kind="f32", whole=(), inputs=(), texts=None):
    """A network that gives the same for every picture.

    Args:
        outputs: by name what it gives for one, (1, …).
        shape: of the picture input.
        kind: of the numbers that it takes.
        whole: names of outputs of int64.
        inputs: further ones, which change nothing.
    """
    arrays = {"nought": np.float32(0)}
    nodes = [
        node("Cast", "picture", "floats", to=TensorProto.FLOAT),
        node("ReduceMean", "floats", "mean", axes=[1, 2, 3], keepdims=0),
        node("Mul", "mean nought", "zero"),
    ]
    for name, array in outputs.items():
        arrays[f"{name}_"] = array.astype(np.float32)
        arrays[f"{name}_sides"] = np.array([-1, *[1] * (array.ndim - 1)], np.int64)
        nodes.append(node("Reshape", f"zero {name}_sides", f"{name}_zero"))
        nodes.append(node("Add", f"{name}_zero {name}_", f"{name}_f" if name in whole else name))
        if name in whole:
            nodes.append(node("Cast", f"{name}_f", name, to=TensorProto.INT64))
    given = [value(name, ("n", *array.shape[1:]), "i64" if name in whole else "f32") for name, array in outputs.items()]
    return model(nodes, [value("picture", shape, kind), *inputs], given, arrays, texts=texts)


def save(made, path, **external):
    """Write it; with `location` its weights into that file."""
    onnx.save(made, str(path), **({"save_as_external_data": True, "size_threshold": 0, **external} if external else {}))
    return path


def relocate(path, location):
    """Have an ONNX file with external data name another file instead."""
    made = onnx.load(str(path), load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(made.SerializeToString())
