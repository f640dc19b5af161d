"""Requests of the Open Inference Protocol, as tables: what is read, what is refused, and the bytes that go back."""

import json
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imageserver.errors import BodyError
from imageserver.inference.shared import wire
from imageserver.inference.worker import costly, tensors
from imageserver.inference.worker.tensors import TensorInput, TensorOutputs, Wanted


def request(**changes):
    tensor = {"name": "image", "shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [0, 1, 2, 3]} | changes
    return {"inputs": [{key: value for key, value in tensor.items() if value is not ...}]}


def test_json_and_binary_tensors_are_read_alike():
    flat, _ = tensors.read_input(request(), None)
    nested, _ = tensors.read_input(request(data=[[[[0], [1]], [[2], [3]]]]), None)
    binary, identity = tensors.read_input(
        request(data=..., parameters={"binary_data_size": 4}) | {"id": "seven"}, memoryview(b"\0\1\2\3")
    )
    expected = np.array([[[[0], [1]], [[2], [3]]]], np.uint8)
    for given in (flat, nested, binary):
        assert tensors.array(given).dtype == np.uint8
        assert np.array_equal(tensors.array(given), expected)
    assert identity == "seven"


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [[[[0], [1]], [[2], [3]]]]},
        {"shape": [2], "datatype": "FP32", "data": [1.5, -2]},
        {"shape": [2], "datatype": "BYTES", "data": ["YWI=", "Y2RlZg=="], "parameters": {"content_type": "base64"}},
    ],
)
def test_a_request_of_json_and_its_condensed_form_are_read_alike(tensor):
    full = request(**tensor) | {"id": "7", "outputs": [{"name": "scores"}], "parameters": {"binary_data_output": True}}
    body = json.dumps(full).encode()
    data, head = costly.condensed(memoryview(body), len(body))
    again = json.loads(data[:head])
    assert {key: again[key] for key in ("id", "outputs", "parameters")} == {
        "id": "7", "outputs": [{"name": "scores"}], "parameters": {"binary_data_output": True},
    }  # fmt: skip
    one, _ = tensors.read_input(full, None)
    other, identity = tensors.read_input(again, data[head:])
    if tensor["datatype"] == "BYTES":
        assert [*map(bytes, tensors.elements(one))] == [*map(bytes, tensors.elements(other))] == [b"ab", b"cdef"]
    else:
        assert np.array_equal(tensors.array(one), tensors.array(other))
    assert (one.shape, one.datatype, identity) == (other.shape, other.datatype, "7")


@pytest.mark.parametrize(
    ("body", "head", "words"),
    [
        (b"{}", None, "inputs must be a list"),
        (b"{}1234", 2, "before a binary tensor there may be 4194304 bytes of JSON, not 2"),
        (json.dumps(request() | {"parameters": {"x": float("nan")}}).encode(), None, "holds NaN"),
        (json.dumps(request() | {"beside": "x" * 70_000}).encode(), None, "beside its data"),
        (json.dumps(request(data=[0, 1, 2])).encode(), None, "data holds 3 elements, but the shape 4"),
    ],
)
def test_what_cannot_be_condensed_is_told(body, head, words):
    with pytest.raises(BodyError, match=words):
        costly.condensed(memoryview(body), head or len(body))


def test_what_comes_out_of_it_must_fit(monkeypatch):
    monkeypatch.setattr(wire, "SLOT_BYTES", 100)
    body = json.dumps(request()).encode()
    with pytest.raises(BodyError, match="has 4 bytes in binary; at most 100 fit"):
        costly.condensed(memoryview(body), len(body))


def test_floats_are_little_endian():
    given = TensorInput("FP32", [2], np.array([1.5, -2], "<f4").tobytes())
    assert tensors.array(given).tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("wrong", "binary", "words"),
    [
        ([], None, "inputs"),
        ({}, None, "inputs"),
        ({"inputs": []}, None, "inputs"),
        ({"inputs": [1]}, None, "inputs"),
        ({"inputs": request()["inputs"] * 2}, None, "one tensor"),
        (request() | {"id": 7}, None, "id"),
        (request(name=...), None, "it is called 'image'"),
        (request(name="picture"), None, "no input 'picture'; it is called 'image'"),
        (request(name="x" * 10_000), None, "it is called 'image'"),
        (request(name=[[]] * 10_000), None, "no input this list"),
        (request(datatype=10**4000), None, "not this int"),
        (request(parameters={"binary_data_size": 10**4000}), b"1234", "binary_data_size is this int"),
        (request(shape=...), None, "shape"),
        (request(shape=[]), None, "shape"),
        (request(shape=[1, -1]), None, "shape"),
        (request(shape=[1, True]), None, "shape"),
        (request(shape=[2**40]), None, "shape"),
        (request(datatype="INT8"), None, "INT8"),
        (request(datatype=["UINT8"]), None, "datatype"),
        (request(data=...), None, "needs data"),
        (request(data="AAEC"), None, "needs data"),
        (request(parameters=[]), None, "parameters"),
        (request(parameters={"shared_memory_region": "x"}), None, "shared memory"),
        (request(parameters={"binary_data_size": 4}), None, "Inference-Header-Content-Length"),
        (request(parameters={"binary_data_size": 5}), b"1234", "4 bytes follow"),
        (request(parameters={"binary_data_size": "4"}), b"1234", "binary_data_size"),
    ],
)
def test_a_wrong_request_is_refused_in_words(wrong, binary, words):
    with pytest.raises(BodyError, match=words):
        tensors.read_input(wrong, binary)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (TensorInput("UINT8", [4], [1, 2, 3]), "3 elements, but the shape 4"),
        (TensorInput("UINT8", [1], [1, 2, 3]), "3 elements, but the shape 1"),
        (TensorInput("UINT8", [2, 2], [[1, 2], [3]]), "numbers"),
        (TensorInput("UINT8", [1], [[[[[[[[[[1, 2]]]]]]]]]]), "numbers"),
        (TensorInput("UINT8", [1], [10**4000]), "numbers"),
        (TensorInput("UINT8", [1], [256]), "0 to 255"),
        (TensorInput("UINT8", [1], [-1]), "0 to 255"),
        (TensorInput("UINT8", [1], [0.5]), "0 to 255"),
        (TensorInput("UINT8", [1], [float("nan")]), "0 to 255"),
        (TensorInput("UINT8", [2], ["a", "b"]), "numbers"),
        (TensorInput("UINT8", [2], ["7", "8"]), "numbers"),
        (TensorInput("UINT8", [2], [True, False]), "numbers"),
        (TensorInput("UINT8", [1], [10**30]), "numbers"),
        (TensorInput("FP32", [1], [float("nan")]), "finite"),
        (TensorInput("FP32", [1], [1e39]), "finite"),
        (TensorInput("FP32", [1], np.array([np.inf], "<f4").tobytes()), "finite"),
        (TensorInput("UINT8", [2], [[1], [2, 3]]), "numbers"),
        (TensorInput("UINT8", [1], []), "0 elements"),
        (TensorInput("FP32", [2], b"1234567"), "8 bytes, not 7"),
    ],
)
def test_data_that_does_not_fit_is_refused(given, words):
    with pytest.raises(BodyError, match=words):
        tensors.array(given)


def test_elements_of_bytes_tensors():
    two = TensorInput("BYTES", [2], b"\3\0\0\0abc\0\0\0\0")
    assert [bytes(each) for each in tensors.elements(two)] == [b"abc", b""]
    assert tensors.elements(TensorInput("BYTES", [1, 1], ["YWJj"])) == [b"abc"]
    for data in (b"\3\0\0\0ab", b"\3\0", b"\xff\xff\xff\xffabc"):
        with pytest.raises(BodyError, match="ends within"):
            tensors.elements(TensorInput("BYTES", [1], data))
    with pytest.raises(BodyError, match="ends within element 1 of 2"):
        tensors.elements(TensorInput("BYTES", [2], b"\3\0\0\0abc"))
    with pytest.raises(BodyError, match="more elements follow"):
        tensors.elements(TensorInput("BYTES", [1], b"\0\0\0\0\0\0\0\0"))
    with pytest.raises(BodyError, match="does not fit"):
        tensors.elements(TensorInput("BYTES", [2], ["YWJj"]))
    with pytest.raises(BodyError, match=r"shape \[n\], not \[1, 2\]"):
        tensors.elements(TensorInput("BYTES", [1, 2], ["YWJj", "YWJj"]))
    with pytest.raises(BodyError, match="list of texts"):
        tensors.elements(TensorInput("BYTES", [1], [5]))


def test_one_long_text_among_many_elements_takes_no_memory():
    """numpy would give each of them as many bytes as the longest has: 16 GB for a body of 5 MB."""
    given = TensorInput("UINT8", [1000], ["x" * 2**14, *[""] * 999])
    tracemalloc.start()
    try:
        with pytest.raises(BodyError, match="numbers"):
            tensors.array(given)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


MANY = 16 * 2**20


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (tensors.elements, TensorInput("BYTES", [1], bytes(MANY))),
        (tensors.elements, TensorInput("BYTES", [1], [""] * (MANY // 3))),
        (tensors.array, TensorInput("UINT8", [1], [0] * (MANY // 2))),
        (tensors.array, TensorInput("UINT8", [1, 1], [[0] * (MANY // 2)])),
        (tensors.array, TensorInput("FP32", [4], [[]] * (MANY // 3))),
        (tensors.array, TensorInput("UINT8", [2], [[0], [0] * (MANY // 2)])),
    ],
)
def test_elements_are_counted_before_anything_is_made_of_them(read, given):
    """What a body of 16 MiB can hold costs next to nothing where the shape names fewer."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(BodyError):
            read(given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - begun < 1
    assert peak < 2**20


def test_outputs_asked_for():
    names = ("scores", "label")
    assert tensors.read_wanted({}, names) == [Wanted("scores", False, 0), Wanted("label", False, 0)]
    assert tensors.read_wanted({"parameters": {"binary_data_output": True}}, ("scores",)) == [Wanted("scores", True, 0)]
    asked = {"outputs": [{"name": "scores", "parameters": {"binary_data": True, "classification": 3}}]}
    assert tensors.read_wanted(asked, names) == [Wanted("scores", True, 3)]
    for wrong in (
        {"outputs": {}},
        {"outputs": [{"name": "other"}]},
        {"outputs": [{"name": "label", "parameters": {"classification": 1}}]},
    ):
        with pytest.raises(BodyError):
            tensors.read_wanted(wrong, names)


def test_the_answer_in_json_and_in_binary():
    outputs = {"scores": np.array([[0.25, 0.75]], "<f4"), "label": np.array([b"b"], dtype=object)}
    model: Any = SimpleNamespace(name="m", output=SimpleNamespace(labels=("a", "b")))
    wanted = [Wanted("scores", False, 0), Wanted("label", False, 0)]
    data, head = tensors.write(model, "seven", TensorOutputs(outputs), wanted)
    assert head == 0
    assert json.loads(data) == {
        "model_name": "m",
        "model_version": "1",
        "id": "seven",
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["b"]},
        ],
    }
    wanted = [Wanted("scores", True, 0), Wanted("label", True, 0), Wanted("scores", True, 9)]
    data, head = tensors.write(model, None, TensorOutputs(outputs), wanted)
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(data[:head])["outputs"]]
    assert sizes == [8, 5, 32]
    assert (
        data[head:]
        == np.array([0.25, 0.75], "<f4").tobytes()
        + b"\1\0\0\0b"
        + b"\x0c\0\0\x000.750000:1:b"
        + b"\x0c\0\0\x000.250000:0:a"
    )


def uint8(array):
    return TensorInput("UINT8", list(array.shape), array.tobytes())


def test_pixels_are_made_grey_or_colour_as_the_model_takes():
    colour = np.full((2, 3, 4, 3), (255, 0, 0), np.uint8)
    assert [picture.size for picture in tensors.pixels(uint8(colour), 3)] == [(4, 3), (4, 3)]
    assert tensors.pixels(uint8(colour), 1)[0].pixels.tolist() == [[76] * 4] * 3
    assert tensors.pixels(uint8(np.zeros((1, 3, 4, 1), np.uint8)), 3)[0].pixels.shape == (3, 4, 3)
    for shape in ((3, 4, 1), (1, 3, 4, 2), (1, 3, 4)):
        with pytest.raises(BodyError, match="channels"):
            tensors.pixels(uint8(np.zeros(shape, np.uint8)), 1)
