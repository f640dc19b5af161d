"""The messages of the Open Inference Protocol over gRPC, made by Google's library from the table below.

Source: KServe's open_inference_grpc.proto, of which only the fields that are used here are listed: others are skipped,
as Protocol Buffers have it. The messages lie in a pool of their own, beside those that anything else may have made.
Answers are a stranger's bytes; what is wrong with one is a ValueError with a sentence.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np

from imageserver.inference.worker.remote import messages
from imageserver.inference.worker.remote.messages import Answer, Array, ModelForm, Question, TensorForm

SERVICE = "inference.GRPCInferenceService"

SCHEMA = """
message ModelReadyRequest { string name = 1; string version = 2; }
message ModelReadyResponse { bool ready = 1; }
message ModelMetadataRequest { string name = 1; string version = 2; }
message TensorMetadata { string name = 1; string datatype = 2; repeated int64 shape = 3; }
message ModelMetadataResponse { repeated TensorMetadata inputs = 4; repeated TensorMetadata outputs = 5; }
message InferInputTensor { string name = 1; string datatype = 2; repeated int64 shape = 3; }
message InferRequestedOutputTensor { string name = 1; }
message ModelInferRequest {
  string model_name = 1; string model_version = 2;
  repeated InferInputTensor inputs = 5; repeated InferRequestedOutputTensor outputs = 6;
  repeated bytes raw_input_contents = 7;
}
message InferTensorContents {
  repeated bool bool_contents = 1; repeated int32 int_contents = 2; repeated int64 int64_contents = 3;
  repeated uint32 uint_contents = 4; repeated uint64 uint64_contents = 5; repeated float fp32_contents = 6;
  repeated double fp64_contents = 7; repeated bytes bytes_contents = 8;
}
message InferOutputTensor {
  string name = 1; string datatype = 2; repeated int64 shape = 3; InferTensorContents contents = 5;
}
message ModelInferResponse { repeated InferOutputTensor outputs = 5; repeated bytes raw_output_contents = 6; }
"""

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", messages.TEXTS: "bytes_contents",
}  # fmt: skip
"""Where an answer has a tensor that is not raw."""

_MESSAGE = re.compile(r"message (\w+) \{([^}]*)\}")
_FIELD = re.compile(r"(repeated )?(\w+) (\w+) = (\d+);")


@functools.cache
def types() -> dict[str, Any]:
    """The classes of the messages, by name. ModuleNotFoundError: the library is not here."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package="inference", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, body in _MESSAGE.findall(SCHEMA):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in _FIELD.findall(body):
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            about = {"name": field, "number": int(number), "label": label}
            if kind[0].isupper():
                message.field.add(**about, type=kinds.TYPE_MESSAGE, type_name=f".inference.{kind}")
            else:
                message.field.add(**about, type=getattr(kinds, f"TYPE_{kind.upper()}"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    described = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(message) for name, message in described.items()}


def named(message: str, model: str, version: str) -> bytes:
    """A request that says nothing but which model is meant."""
    found: bytes = types()[message](name=model, version=version).SerializeToString()
    return found


def request(question: Question, model: str, version: str) -> bytes:
    """The request to infer."""
    found = types()["ModelInferRequest"](model_name=model, model_version=version)
    found.inputs.add(name=question.name, datatype=question.datatype, shape=question.shape)
    for name in question.outputs:
        found.outputs.add(name=name)
    found.raw_input_contents.append(bytes(question.binary()))
    data: bytes = found.SerializeToString()
    return data


def said_ready(data: bytes) -> bool:
    """Whether a model is ready. ValueError."""
    return bool(_parsed("ModelReadyResponse", data).ready)


def model_form(data: bytes) -> ModelForm:
    """What a model says of its tensors. ValueError."""
    found = _parsed("ModelMetadataResponse", data)
    return ModelForm(_forms(found.inputs), _forms(found.outputs))


def answer(data: bytes) -> Answer:
    """The outputs in an answer. ValueError."""
    found = _parsed("ModelInferResponse", data)
    forms, raw = _forms(found.outputs), found.raw_output_contents
    if raw and len(raw) != len(forms):
        raise ValueError(f"has {len(forms)} outputs, and raw data for {len(raw)}")
    read = zip(forms, raw, strict=True) if raw else ()
    outputs: dict[str, Array | list[bytes]] = {form.name: messages.from_binary(form, part) for form, part in read}
    for form, output in zip(forms, found.outputs, strict=True) if not raw else ():
        outputs[form.name] = _typed(form, output.contents)
    return outputs


def _typed(form: TensorForm, contents: Any) -> Array | list[bytes]:
    name = CONTENTS.get(form.datatype)
    if name is None:
        raise ValueError(f"gives {form.name!r} as {form.datatype!r}, which it can give raw alone")
    values = getattr(contents, name)
    if any(side < 0 for side in form.shape) or len(values) != np.prod(form.shape, dtype=np.int64):
        raise ValueError(f"has {len(values)} elements for {form.name!r} of the shape {list(form.shape)}")
    if form.datatype == messages.TEXTS:
        return list(values)
    with np.errstate(all="ignore"):
        return np.array(values, np.float32).reshape(form.shape)


def _forms(described: Any) -> tuple[TensorForm, ...]:
    if len(described) > messages.MOST_TENSORS:
        raise ValueError(f"has more than {messages.MOST_TENSORS} tensors")
    return tuple(messages.form_of(each.name, each.datatype, list(each.shape[:100])) for each in described)


def _parsed(name: str, data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    found = types()[name]()
    try:
        found.ParseFromString(data)
    except DecodeError:
        raise ValueError("is damaged: it is no message of the protocol") from None
    return found
