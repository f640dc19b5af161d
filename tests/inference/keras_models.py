"""A program: builds the Keras models of the tests in the folder given, and prepares them.

One TensorFlow process for all.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
import bootstrap

bootstrap.provide_package()

sys.modules.setdefault("openvino_telemetry", None)  # it would report to its makers

import h5py
import keras
import numpy as np
import openvino
import tensorflow as tf
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

from imageserver.inference import prepare
from imageserver.inference.convert import graph as graphs
from imageserver.inference.shared import manifest, weights

MANIFEST = """
kind = "classification"
title = "{name}"
[input]
width = 12
height = 10
channels = {channels}
range = [0, 1]
{input}
[output]
labels = ["cat", "dog", "bird"]
[batch]
max_batch = 4
[runtime]
weights = "{weights}"
{runtime}
"""


def network(*first, channels=3, classes=3, activation="softmax"):
    """A tiny classifier of pictures of 12x10 pixels."""
    inner = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalMaxPooling2D(),
        layers.Dense(classes, activation=activation, name="last"),
    ]
    model = keras.Sequential([keras.Input((10, 12, channels)), *first, *inner])
    for weight in model.weights:  # large weights, so that scores differ from picture to picture
        weight.assign(np.random.default_rng(1).normal(size=weight.shape).astype(np.float32))
    return model


def folder(models, name, weights_name, channels=3, more_input="", runtime=""):
    path = models / name
    path.mkdir(parents=True, exist_ok=True)
    text = MANIFEST.format(name=name, channels=channels, input=more_input, weights=weights_name, runtime=runtime)
    (path / "model.toml").write_text(text)
    return path


BUILD = """
import keras, tensorflow as tf
from keras import layers
class Strange(layers.Layer):
    def call(self, x):
        return {call}
def build():
    inner = [layers.Conv2D(4, 3, activation="relu"), layers.GlobalMaxPooling2D(), layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((10, 12, 3)), Strange(), *inner])
"""

CALLS = {
    "arrays": "x",
    "strange": "tf.math.special.bessel_i0e(x)",  # OpenVINO has no such operation
    "random": "x + tf.random.uniform(())",  # never the same twice
}


WRONG = {
    "wrong-width": ("width = 12", "width = 13"),
    "wrong-channels": ("channels = 3", "channels = 1"),
    "wrong-labels": ('"dog", ', ""),
}


class Graph(tf.Module):
    """A network whose graph does more than compute: `act` is called with a tensor when a batch is."""

    def __init__(self, act):
        super().__init__()
        self.weight = tf.Variable(np.ones((3, 3), np.float32))
        self.act = act

    @tf.function(input_signature=[tf.TensorSpec((None, 10, 12, 3), tf.float32)])
    def serve(self, batch):
        found = self.act(batch)
        with tf.control_dependencies([found] if found is not None else []):
            return tf.reduce_max(batch, axis=(1, 2)) @ self.weight


def hostile_graphs(folder):
    """SavedModels that read, write, call Python, or restore from another file."""
    acts = {
        "writes": lambda batch: tf.io.write_file("ran", "x"),
        "reads": lambda batch: tf.io.read_file("/etc/hostname"),
        "lists": lambda batch: tf.io.matching_files("/etc/*"),
        "python": lambda batch: tf.numpy_function(lambda: np.float32(1), [], tf.float32),
        "prints": lambda batch: tf.print("x", output_stream="file://ran"),
        "restores": lambda batch: tf.raw_ops.RestoreV2(
            prefix="/etc/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0],
        "branch": lambda batch: tf.cond(
            tf.reduce_sum(batch) > 1, lambda: tf.io.read_file("/etc/hostname"), lambda: tf.constant("")
        ),
    }
    for name, act in acts.items():
        model = Graph(act)
        tf.saved_model.save(model, str(folder / name), signatures=model.serve)
    twice = folder / "twice"
    shutil.copytree(folder / "reads", twice)
    (twice / "saved_model.pbtxt").write_text("")


def foreign(folder, tiny):
    """The same network in other formats; `arrays.npz` is for that in ONNX (foreign.py)."""
    folder.mkdir()
    np.savez(folder / "arrays.npz", *tiny.get_weights())
    (folder / "tiny.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(tiny).convert())
    quantised = tf.lite.TFLiteConverter.from_keras_model(tiny)
    quantised.optimizations = [tf.lite.Optimize.DEFAULT]
    seen = [[np.random.default_rng(seed).random((1, 10, 12, 3), np.float32)] for seed in range(20)]
    quantised.representative_dataset = lambda: iter(seen)
    quantised.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    for kind, name in ((tf.int8, "int8"), (tf.uint8, "uint8")):
        quantised.inference_input_type = quantised.inference_output_type = kind
        (folder / f"{name}.tflite").write_bytes(quantised.convert())
    openvino.save_model(openvino.convert_model(folder / "tiny.tflite"), folder / "tiny.xml", compress_to_fp16=False)
    for name, regular in (("ssd", False), ("ssd-regular", True)):
        listing(folder, name, regular)


POST = """
name: "TFLite_Detection_PostProcess"
attr {{ key: "max_detections" value {{ i: 8 }} }} attr {{ key: "max_classes_per_detection" value {{ i: 1 }} }}
attr {{ key: "detections_per_class" value {{ i: 100 }} }} attr {{ key: "use_regular_nms" value {{ b: {regular} }} }}
attr {{ key: "nms_score_threshold" value {{ f: 0.45 }} }} attr {{ key: "nms_iou_threshold" value {{ f: 0.4 }} }}
attr {{ key: "y_scale" value {{ f: 10.0 }} }} attr {{ key: "x_scale" value {{ f: 9.0 }} }}
attr {{ key: "h_scale" value {{ f: 5.0 }} }} attr {{ key: "w_scale" value {{ f: 4.0 }} }}
attr {{ key: "num_classes" value {{ i: 3 }} }}
"""
ANCHORS = 12


class Listing(tf.Module):
    """A detector of pictures of 12x10 pixels as TensorFlow's SSD networks end, with TFLite's own post-processing."""

    def __init__(self, regular):
        super().__init__()
        random = np.random.default_rng(5)
        self.boxes = tf.constant(random.normal(size=(3, ANCHORS * 4)).astype(np.float32))
        self.scores = tf.constant(random.normal(size=(3, ANCHORS * 4)).astype(np.float32))
        sides = [random.uniform(0.4, 0.6, (ANCHORS, 2)), random.uniform(0.2, 0.5, (ANCHORS, 2))]
        self.anchors = tf.constant(np.concatenate(sides, axis=1).astype(np.float32))
        implements = POST.format(regular=str(regular).lower())
        self.post = tf.function(self.empty, experimental_implements=implements)

    @staticmethod
    def empty(boxes, scores, anchors):
        """The sides of what TFLite's own operation gives in its place: boxes, labels, scores, count."""
        return [tf.zeros(shape) for shape in ((1, 8, 4), (1, 8), (1, 8), (1,))]

    @tf.function(input_signature=[tf.TensorSpec((1, 10, 12, 3), tf.float32)])
    def serve(self, batch):
        means = tf.reduce_mean(batch, axis=(1, 2))
        boxes = tf.reshape(means @ self.boxes, (1, ANCHORS, 4))
        return self.post(boxes, tf.sigmoid(tf.reshape(means @ self.scores, (1, ANCHORS, 4))), self.anchors)


def listing(folder, name, regular):
    """It in TFLite, and what TFLite's own interpreter gives for a picture: boxes, labels, scores, count."""
    model = Listing(regular)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.serve.get_concrete_function()], model)
    converter.allow_custom_ops = True
    (folder / f"{name}.tflite").write_bytes(converter.convert())
    interpreter = tf.lite.Interpreter(str(folder / f"{name}.tflite"))
    interpreter.allocate_tensors()
    picture = np.random.default_rng(6).uniform(0, 1, (1, 10, 12, 3)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    found = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
    [boxes] = [each for each in found if each.ndim == 3]
    [count] = [each for each in found if each.ndim == 1]
    labels, scores = sorted((each for each in found if each.ndim == 2), key=lambda each: each.max() < 1)
    np.savez(folder / f"{name}.npz", picture=picture, boxes=boxes, labels=labels, scores=scores, count=count)


def detectors(root):
    """Two that give the same for every picture: cells as YOLOX has them, and lists of boxes."""
    picture = keras.Input((32, 32, 3))
    mean = layers.GlobalAveragePooling2D()(picture)

    def same(numbers, name):
        bias = keras.initializers.Constant(numbers.ravel())
        row = layers.Dense(numbers.size, kernel_initializer="zeros", bias_initializer=bias)(mean)
        return layers.Reshape(numbers.shape, name=name)(row)

    cells = np.zeros((16 + 4 + 1, 5 + 2), np.float32)  # strides 8, 16, 32
    cells[1 * 4 + 2] = [0.5, 0.5, np.log(2), 0.0, 0.9, 0.1, 1.0]  # its middle is 20, 12; it is 16x8
    keras.Model(picture, same(cells, "cells")).save(root / "grid.keras")
    lists = {
        "boxes": same(np.array([[12, 8, 28, 16], [0, 0, 9, 9]], np.float32), "boxes"),
        "classes": same(np.array([1, 0], np.float32), "classes"),
        "confidence": same(np.array([0.9, 0.1], np.float32), "confidence"),
    }
    keras.Model(picture, lists).save(root / "lists.keras")
    keras.Model(picture, lists).export(root / "lists", verbose=False)


def main(root, mobilenet):
    models = root / "models"
    tiny = network()
    tiny.save(folder(models, "tiny", "model.keras") / "model.keras")
    picture = np.random.default_rng(2).integers(0, 256, (10, 12, 3), np.uint8)
    np.savez(root / "expected.npz", picture=picture, scores=np.asarray(tiny(picture[None] / 255.0, training=False))[0])
    tiny.export(folder(models, "saved", "model") / "model", verbose=False)
    sha = weights.digest(models / "saved" / "model")
    folder(models, "saved", "model", runtime=f'sha256 = "{sha}"')
    for name, call in CALLS.items():
        path = folder(models, name, "weights.npz")
        (path / "model.py").write_text(BUILD.format(call=call))
        np.savez(path / "weights.npz", *[array.astype(np.float16) for array in tiny.get_weights()])
    path = folder(root / "wrong", "wrong-arrays", "weights.npz")
    (path / "model.py").write_text(BUILD.format(call="x"))
    np.savez(path / "weights.npz", np.zeros(3), np.zeros(4))
    shutil.copy(models / "tiny/model.keras", folder(models, "blue", "model.keras", more_input='order = "bgr"'))
    for name, change in WRONG.items():
        path = folder(root / "wrong", name, "model.keras")
        shutil.copy(models / "tiny/model.keras", path)
        (path / "model.toml").write_text((path / "model.toml").read_text().replace(*change))
    whole = (models / "tiny/model.keras").read_bytes()
    for cut in (folder(root / "wrong", "wrong-cut", "model.keras") / "model.keras", root / "cut.keras"):
        cut.write_bytes(whole[: len(whole) // 2])
    grey = network(channels=1)
    grey.save(folder(models, "grey", "model.keras", channels=1) / "model.keras")

    path = models / "mobilenet"
    path.mkdir()
    for file in ("model.toml", "model.py"):
        (path / file).write_bytes((mobilenet / file).read_bytes())
    keras.utils.set_random_seed(1)
    large = keras.applications.MobileNetV2(weights=None)
    features = keras.Model(large.input, large.layers[-2].output)(
        np.random.default_rng(3).uniform(-1, 1, (2, 224, 224, 3))
    )
    last = large.layers[-1]  # random weights give every class 0.001; these make them differ
    last.kernel.assign(np.random.default_rng(4).normal(size=last.kernel.shape) * 3 / float(tf.norm(features[0])))
    file = path / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    with h5py.File(file, "w") as stream:
        legacy_h5_format.save_weights_to_hdf5_group(stream, large)

    foreign(root / "foreign", tiny)
    # For add_model: these are no folders with manifests.
    network(activation=None).save(root / "logits.keras")
    network(layers.Rescaling(1 / 255)).save(root / "scaled.keras")
    network(classes=1, activation="sigmoid").save(root / "binary.keras")
    network().save(root / "old.h5")
    network().export(root / "exported", verbose=False)
    code = layers.Lambda(lambda x: x * 2)
    keras.Sequential([keras.Input((10, 12, 3)), code, layers.Flatten(), layers.Dense(3)]).save(root / "code.keras")
    two = keras.Input((10, 12, 3))
    keras.Model([two, keras.Input((3,))], layers.Dense(3)(layers.Flatten()(two))).save(root / "two.keras")
    both = keras.Model(two, [layers.Dense(3)(layers.Flatten()(two)), layers.Dense(1)(layers.Flatten()(two))])
    both.save(root / "outputs.keras")
    both.export(root / "outputs", verbose=False)
    inside = keras.Input((10, 12, 3))
    keras.Model(inside, network()(inside / 255.0)).save(root / "inside.keras")
    detectors(root)
    hostile_graphs(root / "graphs")
    assert tf.executing_eagerly()
    fresh = graphs.make(manifest.read(mobilenet.parent / "lenet"))
    (root / "lenet.xml").write_bytes(fresh.xml)
    (root / "lenet.bin").write_bytes(fresh.constants)
    for part in ("models", "wrong"):
        prepare.main(["--models", str(root / part), "--models-cache", str(root / "cache")])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
