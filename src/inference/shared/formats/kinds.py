"""Which files are networks that OpenVINO reads by itself, and of all others what to do with them.

By the name alone, and by the first bytes: nothing is parsed here.
"""

from __future__ import annotations

import enum
from pathlib import Path

from imageserver import files

START = 128
"""Bytes that tell a format."""

_EXPORT = "export it, for example with `yolo export model={name} format=onnx` (Ultralytics), or in Python with "
_TORCH = '`torch.onnx.export(model, torch.zeros(1, 3, 224, 224), "{stem}.onnx")`'
_PYTORCH = f"is PyTorch's, which holds Python objects and can run code as it is loaded: {_EXPORT}{_TORCH}"
_MADE_FROM = "give the ONNX or TFLite file that it was made from, or make one: `yolo export model=… format=onnx`"
_UNPACK = "is an archive: unpack it and give the file in it"
_SOURCE = f"has no way back to a network: {_MADE_FROM}"

_OTHERS = {
    ".pt .pth .ckpt .torchscript .pt2 .mar": _PYTORCH,
    ".pkl .pickle .joblib": "holds Python objects, which run code as they are loaded; it is not opened: export the "
    f"network, in Python with {_TORCH}",
    ".engine .plan .trt": f"is made by TensorRT for one kind of graphics card: {_MADE_FROM}",
    ".mlmodel .mlpackage .mlmodelc": f"is Core ML's and runs on Apple's machines alone: {_MADE_FROM}",
    ".safetensors": "holds weights without their network: export both, for example with "
    "`optimum-cli export onnx --model FOLDER onnx/`",
    ".pb .pbtxt": "is a graph of TensorFlow: of a SavedModel give the folder; one of TensorFlow 1 becomes ONNX with "
    "`python -m tf2onnx.convert --graphdef {name} --inputs NAME:0 --outputs NAME:0 --output {stem}.onnx`",
    ".caffemodel .prototxt": "is Caffe's: convert it in an environment with `pip install openvino-dev[caffe]==2022.3` "
    "by `mo --input_model {stem}.caffemodel`, and give the .xml file",
    ".pdmodel .pdiparams": "is Paddle's: convert it with `paddle2onnx --model_dir . --model_filename {stem}.pdmodel "
    "--params_filename {stem}.pdiparams --save_file {stem}.onnx`",
    ".weights .cfg": f"is Darknet's: {_MADE_FROM}",
    ".param .ncnn .mnn .nb .om .dlc .blob .hef .rknn .kmodel .cvimodel .axmodel": f"is made for another runtime or one "
    f"kind of chip, and {_SOURCE}",
    ".ort": "is ONNX Runtime's own form: give the .onnx file that it was made from",
    ".gguf .ggml": "holds a model of language; what is needed here is a network for pictures",
    ".meta .index": "is a part of a checkpoint of TensorFlow: export the model with `model.export(FOLDER)`",
    ".bin": "holds weights without their network: of an OpenVINO IR give the .xml file beside it; what belongs to "
    'PyTorch is exported with `torch.onnx.export(model, torch.zeros(1, 3, 224, 224), "{stem}.onnx")`',
    ".data .onnx_data": "holds the weights of an ONNX file: give the .onnx file beside it",
    ".json": "of TensorFlow.js becomes Keras' with `tensorflowjs_converter --input_format tfjs_layers_model "
    "--output_format keras {name} {stem}.keras`",
    ".zip .tar .gz .tgz .bz2 .xz .zst .7z .rar": _UNPACK,
}
"""Suffixes, and how a sentence goes on that begins with the file's name."""

OTHERS = {suffix: sentence for suffixes, sentence in _OTHERS.items() for suffix in suffixes.split()}

_PICKLED = (
    f"holds Python objects, as PyTorch's and scikit-learn's files do, which can run code as they are loaded: {_EXPORT}"
    f"{_TORCH}"
)
_PICTURE = "is a picture, not a network"
_ARRAYS = "holds weights without their network, as NumPy keeps them: export both together as ONNX"
_KERAS = "is a Keras file: call it .keras"

_ARCHIVED = {b"data.pkl": _PYTORCH, b"metadata.json": _KERAS, b"config.json": _KERAS, b".npy": _ARRAYS}
"""In the name of an archive's first file: what the archive is."""

_STARTS = {
    b"PK\x03\x04": _UNPACK,
    b"\x1f\x8b": _UNPACK,
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`",
    b"<!DOCTYPE": "is a web page: the download gave that instead of the file",
    b"<!doctype": "is a web page: the download gave that instead of the file",
    b"<html": "is a web page: the download gave that instead of the file",
    b"\x80\x02": _PYTORCH,
    b"\x80\x03": _PICKLED,
    b"\x80\x04": _PICKLED,
    b"\x80\x05": _PICKLED,
    b"\x89HDF\r\n": "is an HDF5 file, as Keras' are: call it .h5",
    b"\x89PNG\r\n": _PICTURE,
    b"\xff\xd8\xff": _PICTURE,
    b"{": "is a text, mostly what a server says instead of sending a file: fetch it again",
}


class Format(enum.Enum):
    """A network in a file that OpenVINO reads by itself: the name of its front end there."""

    ONNX = "onnx"
    TFLITE = "tflite"
    IR = "ir"

    @property
    def title(self) -> str:
        """For people."""
        return {"onnx": "ONNX", "tflite": "TFLite", "ir": "OpenVINO IR"}[self.value]


_SUFFIXES = {".onnx": Format.ONNX, ".tflite": Format.TFLITE, ".xml": Format.IR}


def of(path: Path) -> Format | None:
    """The format of a file by its name; None: Keras', or one that nothing here runs."""
    return _SUFFIXES.get(path.suffix.lower())


def refusal(path: Path) -> str:
    """Why a file of this name is not taken, and what to do, as one sentence; "" where nothing is known of such."""
    sentence = OTHERS.get(path.suffix.lower(), "")
    return f"{path.name} {sentence.format(name=path.name, stem=path.stem)}" if sentence else ""


def check_start(path: Path) -> None:
    """Look at the first bytes of a file that by its name `of` knows.

    Raises:
        ValueError: it is something else; how a sentence goes on that begins with its name.
        OSError: it cannot be read.
    """
    start, kind = files.start(path, START), of(path)
    if not start:
        raise ValueError("is empty: it may not have been copied whole")
    for beginning, sentence in _STARTS.items():
        if start.startswith(beginning):
            archived = (known for name, known in _ARCHIVED.items() if sentence is _UNPACK and name in start)
            raise ValueError(next(archived, sentence).format(name=path.name, stem=path.stem))
    if (start[4:8] == b"TFL3") != (kind is Format.TFLITE):
        other = "no TFLite file: it may be cut short, or of another kind"
        raise ValueError(f"is {other if kind is Format.TFLITE else 'a TFLite file: call it .tflite'}")
    if (start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<") != (kind is Format.IR):
        other = "no XML, as an OpenVINO IR is: it may be cut short, or of another kind"
        raise ValueError(f"is {other if kind is Format.IR else 'XML: call it .xml if it is an OpenVINO IR'}")
