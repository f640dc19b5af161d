"""Questions and answers of the protocol over HTTP, as bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from imageserver.inference.worker.remote import messages
from imageserver.inference.worker.remote.messages import Question, TensorForm


def answer(*outputs: dict[str, Any], data: bytes = b"") -> tuple[bytes, int]:
    head = json.dumps({"outputs": outputs}).encode()
    return head + data, len(head) if data else 0


def output(name: str = "a", datatype: str = "FP32", shape: Any = (1, 2), **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def size(count: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": count}}


def test_a_tensor_goes_in_binary_or_as_numbers() -> None:
    data = np.arange(4, dtype="<f4").reshape(1, 4)
    question = Question("x", "FP32", data.shape, data, ("a",))
    (head, binary), length = messages.request(question, binary=True)
    assert length == len(head)
    assert json.loads(bytes(head))["inputs"][0]["parameters"] == {"binary_data_size": 16}
    assert bytes(binary) == data.tobytes()
    (body,), length = messages.request(question, binary=False)
    assert (length, json.loads(bytes(body))["inputs"][0]["data"]) == (0, [0.0, 1.0, 2.0, 3.0])


def test_files_go_with_their_lengths_or_in_base64() -> None:
    question = Question("x", "BYTES", (2,), [b"ab", memoryview(b"c")])
    (_, binary), _ = messages.request(question, binary=True)
    assert bytes(binary) == b"\2\0\0\0ab\1\0\0\0c"
    (body,), _ = messages.request(question, binary=False)
    assert json.loads(bytes(body))["inputs"][0]["data"] == ["YWI=", "Yw=="]


@pytest.mark.parametrize(
    ("datatype", "expected"),
    [("UINT8", [0, 0, 255]), ("INT8", [-4, 0, 127]), ("FP32", [-3.6, 0.4, 300.0]), ("FP16", [-3.6, 0.4, 300.0])],
)
def test_numbers_are_rounded_to_whole_ones_and_cut(datatype: str, expected: list[float]) -> None:
    found = messages.as_numbers(np.float32([-3.6, 0.4, 300.0]), datatype)
    assert np.allclose(found.astype(float), expected, atol=1e-2)
    assert found.dtype == np.dtype(messages.NUMBERS[datatype])


def test_answers_in_binary_in_json_and_mixed() -> None:
    body, head = answer(
        output("a", **size(8)),
        output("b", "BYTES", [1], data=["word"]),
        output("c", "INT64", [1], **size(8)),
        output("d", "BOOL", [2], data=[True, False]),
        output("e", "FP32", [2, 1], data=[[1], [2]]),
        data=np.array([1, 2], "<f4").tobytes() + np.array([7], "<i8").tobytes(),
    )
    found = messages.answer(body, head)
    assert {name: each.tolist() if isinstance(each, np.ndarray) else each for name, each in found.items()} == {
        "a": [[1.0, 2.0]],
        "b": [b"word"],
        "c": [7.0],
        "d": [1.0, 0.0],
        "e": [[1.0], [2.0]],
    }


WRONG: list[tuple[Any, str]] = [
    ((b"", 0), "no valid JSON"),
    ((b"[]", 0), "no JSON object"),
    ((b"{}", 5), "5 bytes of its 2"),
    ((b"{}", 0), "no list"),
    (answer(output(), output("b")), "has no data for 'a'"),
    (answer(output(data=[1])), "holds 1 elements"),
    (answer(output(data=["1", "2"])), "numbers"),
    (answer(output(shape=[-1, 2], data=[])), "the shape"),
    (answer(output(shape=[2**31], data=[])), "shape that is none"),
    (answer(output(shape=[1] * 9, data=[1])), "shape that is none"),
    (answer(output(shape=[2**30, 2**30], **size(4)), data=b"abcd"), "has 4 bytes"),
    (answer(output(**size(9)), data=b"abcd"), "no room for the 9"),
    (answer(output(**size(-1)), data=b"abcd"), "no room"),
    (answer(output(**size(8)), data=b"12345678!"), "1 bytes that belong"),
    (answer(output(datatype="BF16", **size(4)), data=b"abcd"), "known are"),
    (answer(output(datatype="BYTES", shape=[1], **size(4)), data=b"\xff\xff\xff\xff"), "damaged"),
    (answer(output(datatype="BYTES", shape=[10**6], **size(4)), data=b"abcd"), "the shape"),
    (answer(*[output()] * 65), "at most 64"),
    (answer({"name": 5}), "without a name"),
]


@pytest.mark.parametrize(("given", "sentence"), WRONG)
def test_what_is_wrong_with_an_answer_is_said(given: tuple[bytes, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        messages.answer(*given)


def test_what_a_model_says_of_itself() -> None:
    form = messages.model_form(b'{"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 3]}], "outputs": []}')
    assert form.inputs == (TensorForm("x", "UINT8", (-1, 3)),)
    assert messages.model_form(b"{}").outputs == ()
    with pytest.raises(ValueError, match="shape that is none"):
        messages.model_form(b'{"inputs": [{"name": "x", "datatype": "UINT8", "shape": ["3"]}]}')
    assert messages.extensions(b'{"extensions": ["a", 5]}') == {"a"}
    assert messages.extensions(b"{}") == frozenset()


def test_readiness_and_faults_in_words() -> None:
    assert [messages.said_ready(body) for body in (b"", b"OK", b"{}", b'{"ready": true}', b'{"ready": false}')] == [
        True, True, True, True, False,
    ]  # fmt: skip
    assert messages.fault(b'{"error": "a\\nb\\u001b[31m"}') == "a b [31m"
    assert messages.fault(b"<html>") == ""
