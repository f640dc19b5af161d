"""Which files are networks, and what is said of all others."""

import re
from pathlib import Path

import pytest

from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.formats.kinds import Format


def test_the_formats_that_openvino_reads():
    found = {name: kinds.of(Path(name)) for name in ("a.onnx", "a.TFLITE", "b/a.xml", "a.keras", "saved", "a.pt")}
    assert list(found.values()) == [Format.ONNX, Format.TFLITE, Format.IR, None, None, None]
    assert [kinds.refusal(Path(name)) for name in ("a.onnx", "a.keras", "saved", "a.npz", "a.h5")] == [""] * 5


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "yolo.pt",
            "can run code as it is loaded: export it, for example with `yolo export model=yolo.pt format=onnx`",
        ),
        ("net.pth", '`torch.onnx.export(model, torch.zeros(1, 3, 224, 224), "net.onnx")`'),
        ("net.PKL", "holds Python objects, which run code as they are loaded; it is not opened"),
        ("net.engine", "is made by TensorRT for one kind of graphics card"),
        ("net.mlmodel", "is Core ML's"),
        ("net.safetensors", "`optimum-cli export onnx --model FOLDER onnx/`"),
        ("net.pb", "`python -m tf2onnx.convert --graphdef net.pb --inputs NAME:0 --outputs NAME:0 --output net.onnx`"),
        ("net.caffemodel", "`mo --input_model net.caffemodel`"),
        ("net.pdmodel", "`paddle2onnx --model_dir . --model_filename net.pdmodel"),
        ("net.hef", "is made for another runtime or one kind of chip"),
        ("net.rknn", "is made for another runtime or one kind of chip"),
        ("net.bin", "of an OpenVINO IR give the .xml file beside it"),
        ("net.onnx_data", "give the .onnx file beside it"),
        ("net.zip", "is an archive: unpack it"),
        ("model.json", "`tensorflowjs_converter --input_format tfjs_layers_model --output_format keras model.json"),
    ],
)
def test_what_is_said_of_other_formats(name, sentence):
    said = kinds.refusal(Path("some/folder", name))
    assert said.startswith(f"{name} ")
    assert sentence in said


def test_every_sentence_is_one_and_is_whole():
    for suffix in kinds.OTHERS:
        said = kinds.refusal(Path(f"net{suffix}"))
        assert not re.search(r"[{}\n]|\.$", said)
        assert len(said) < 300


@pytest.mark.parametrize(
    ("name", "start", "sentence"),
    [
        ("a.onnx", b"", "is empty"),
        ("a.tflite", b"PK\x03\x04rest", "is an archive: unpack it"),
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\noid", "fetch it with `git lfs pull`"),
        ("a.onnx", b"<!DOCTYPE html>", "is a web page"),
        ("a.onnx", b"\x80\x02}q\x00", "is PyTorch's"),
        ("a.onnx", b"\x80\x04\x95", "holds Python objects, as PyTorch's and scikit-learn's files do"),
        ("a.onnx", b"PK\x03\x04" + bytes(26) + b"yolov8n/data.pkl", "`yolo export model=a.onnx format=onnx`"),
        ("a.onnx", b"PK\x03\x04" + bytes(26) + b"metadata.json{", "is a Keras file: call it .keras"),
        ("a.onnx", b"PK\x03\x04" + bytes(26) + b"arr_0.npy", "holds weights without their network"),
        ("a.tflite", b"\xff\xd8\xff\xe0", "is a picture"),
        ("a.onnx", b'{"message": "Not Found"}', "is a text, mostly what a server says"),
        ("a.onnx", b"\x1c\0\0\0TFL3", "is a TFLite file: call it .tflite"),
        ("a.tflite", b"\x08\x07\x12\x07", "is no TFLite file"),
        ("a.xml", b"\x08\x07\x12\x07", "is no XML"),
        ("a.onnx", b'<?xml version="1.0"?>', "is XML: call it .xml"),
        ("a.onnx", b"\x89HDF\r\n\x1a\n", "call it .h5"),
    ],
)
def test_what_the_first_bytes_tell(tmp_path, name, start, sentence):
    file = tmp_path / name
    file.write_bytes(start)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        kinds.check_start(file)


def test_proper_beginnings(tmp_path):
    for name, start in (("a.onnx", b"\x08\x07"), ("a.tflite", b"\x20\0\0\0TFL3"), ("a.xml", b"\xef\xbb\xbf \n<net")):
        (tmp_path / name).write_bytes(start)
        kinds.check_start(tmp_path / name)
