"""What REST bodies, answers and parameters look like, for the OpenAPI document: JSON Schema 2020-12, by name."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any


def _png(rows: list[str]) -> bytes:
    """A grey PNG (W3C PNG, section 11) of 8 bits: a character of `rows` is a pixel, `#` dark, anything else light."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(30 if pixel == "#" else 245 for pixel in row) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


_ONE = [" " * 28] * 3 + [" " * 13 + "###" + " " * 12] * 22 + [" " * 28] * 3
EXAMPLE = _png(_ONE)
"""A digit 1, 28x28, dark on light: the picture in every example."""


def _object(properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        **more,
    }


def _list(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT = {"type": "string"}
_SCORE = {"type": "number", "minimum": 0, "maximum": 1}
_SIDE = {"type": "integer", "minimum": 1}
_WHOLE = {"type": "integer"}

_STREAM = _object(
    {
        "id": _TEXT,
        "name": {"type": "string", "description": "what people see: the camera's name, otherwise the user's"},
        "user": {"type": "string", "description": "the connection's id where nobody has authenticated"},
        "protocol": {"type": "string", "description": "camstream, sessions, …"},
        "model": {"type": "string", "description": "of a session all of them"},
        "fps_in": {"type": "number", "description": "frames a second that came"},
        "fps_answered": {"type": "number", "description": "frames a second that were answered"},
        "age_ms": {"type": ["number", "null"], "description": "from receipt to answer of the last prediction"},
        "dropped": {"type": "integer", "description": "frames that newer ones have replaced"},
        "size": {
            "type": ["array", "null"],
            "items": _WHOLE,
            "description": "width and height of the last upright picture in pixels",
        },
        "camera": {"type": "string", "description": "where the stream has a name of one"},
    },
    required=[
        "id", "name", "user", "protocol", "model", "fps_in", "fps_answered", "age_ms", "dropped", "size",
    ],
)  # fmt: skip

SCHEMAS: dict[str, Any] = {
    "Error": _object({"error": {"type": "string", "description": "what happened, and what to do"}}),
    "Text": _object({"text": _TEXT}),
    "TextList": _object({"text": _list(_TEXT)}),
    "AnyObject": {"type": "object"},
    "Classification": _object(
        {
            "number": {"type": "string", "description": "the digit (networks that read digits)"},
            "label": _TEXT,
            "score": {**_SCORE, "description": "of the label; for X-rays the probability of pneumonia"},
            "labels": _list(_object({"label": _TEXT, "score": _SCORE}), description="best first"),
            "boxes": _list(
                _object({"x": _WHOLE, "y": _WHOLE, "width": _WHOLE, "height": _WHOLE, "label": _TEXT, "score": _SCORE}),
                description="detections, in pixels of the upright picture",
            ),
            "size": _list(
                _WHOLE, minItems=2, maxItems=2, description="width and height of the upright picture in pixels"
            ),
        },
        required=[],
    ),
    "Picture": _object(
        {
            "image": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "a picture file; may have line breaks",
            }
        }
    ),
    "TrainingStatus": _object(
        {
            "accuracy": {
                "type": "string",
                "description": "percent of the held-out part that the model gets right, such as 99.32",
            },
            "datetime": {
                "type": "string",
                "description": "when that training was completed, local time, such as 2018-11-21 17:39:08",
            },
            "note": {"type": "string", "description": "what became of a later training that does not serve"},
        },
        required=["accuracy", "datetime"],
    ),
    "Stream": _STREAM,
    "StreamList": _list(_ref("Stream")),
    "StreamOptions": _object(
        {"model": _TEXT, "hz": {"type": "number", "minimum": 0, "description": "frames a second, 0: no cap"}},
        required=[],
        minProperties=1,
        additionalProperties=False,
    ),
    "Prediction": {"type": "object", "description": "as it went to the stream's client (docs/protocols.md)"},
    "Disconnected": _object({"id": _TEXT, "disconnected": {"type": "boolean"}}),
    "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}}, required=["ready"]),
    "ModelReady": _object({"name": _TEXT, "ready": {"type": "boolean"}, "error": _TEXT}, required=[]),
    "ModelList": _object({"models": _list(_TEXT)}),
    "TensorDescription": _object(
        {"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer", "description": "-1: any"})}
    ),
    "Model": _object(
        {
            "name": _TEXT,
            "versions": _list(_TEXT),
            "platform": _TEXT,
            "inputs": _list(_ref("TensorDescription")),
            "outputs": _list(_ref("TensorDescription")),
        }
    ),
    "InferRequest": _object(
        {
            "id": _TEXT,
            "parameters": {"type": "object"},
            "inputs": _list(
                _object(
                    {
                        "name": _TEXT,
                        "shape": _list(_SIDE, minItems=1),
                        "datatype": {"enum": ["UINT8", "BYTES", "FP32"]},
                        "parameters": {"type": "object"},
                        "data": {"type": "array"},
                    },
                    required=["name", "shape", "datatype"],
                ),
                minItems=1,
                maxItems=1,
            ),
            "outputs": _list(_object({"name": _TEXT, "parameters": {"type": "object"}}, required=["name"])),
        },
        required=["inputs"],
    ),
    "InferAnswer": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "outputs": _list(
                _object(
                    {
                        "name": _TEXT,
                        "datatype": _TEXT,
                        "shape": _list(_WHOLE),
                        "data": {"type": "array"},
                        "parameters": {"type": "object"},
                    },
                    required=["name", "datatype", "shape"],
                )
            ),
        },
        required=["model_name", "model_version", "outputs"],
    ),
}


def _json(name: str, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name), "example": example}}


_FILE = base64.b64encode(EXAMPLE).decode()
_BINARY: dict[str, Any] = {}  # a body that is no text has no schema in OpenAPI 3.1

BODIES: dict[str, dict[str, Any]] = {
    "Picture": {
        "application/json": {"schema": _ref("Picture"), "example": {"image": _FILE}},
        **{f"image/{kind}": _BINARY for kind in ("jpeg", "png", "bmp", "tiff", "webp")},
        "multipart/form-data": {
            "schema": _object({"image": {"type": "string", "contentMediaType": "application/octet-stream"}})
        },
    },
    "InferRequest": {
        "application/json": {
            "schema": _ref("InferRequest"),
            "example": {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [_FILE]}]},
        },
        "application/octet-stream": _BINARY,
    },
    "StreamOptions": _json("StreamOptions", {"model": "lenet", "hz": 5}),
}

MEDIA: dict[str | None, dict[str, Any]] = {
    "Html": {"text/html": {"schema": _TEXT}},
    "Events": {"text/event-stream": {"schema": {"description": "events whose data is a JSON object"}}},
    "InferAnswers": {"application/json": {"schema": _ref("InferAnswer")}, "application/octet-stream": _BINARY},
}

QUERY: dict[str, dict[str, Any]] = {
    "after": {
        "name": "after",
        "in": "query",
        "description": "where the page begins; take it from the Link header of the page before",
        "schema": {"type": "string"},
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "rows of the page, at most and by default --list-rows",
        "schema": {"type": "integer", "minimum": 1},
    },
    "training_sample": {
        "name": "training_sample",
        "in": "query",
        "description": "what to learn from: MNIST, or the server's own folder of labelled pictures",
        "schema": {"type": "string", "enum": ["mnist", "other"], "default": "mnist"},
    },
}

PATH_VARIABLES = {
    "name": "the model's name",
    "version": "the model's version",
    "stream": "the stream's id, or its name, percent-encoded",
}

CODES = {
    200: "The answer.",
    302: "Go there.",
    400: "The body is empty, or not what its type says; or a parameter has a value that it may not have.",
    401: "Credentials are missing or wrong.",
    403: "The user lacks the role.",
    404: "There is no such model, stream or path.",
    405: "This model cannot do that.",
    406: "A training of this model runs, or cannot start; the sentence says more.",
    409: "Not as things stand: no training of this model runs, a name stands for several; the sentence says more.",
    413: "The body has more than {most} bytes.",
    415: "The Content-Type is another, or there is no picture in the body.",
    429: "Too many requests, or refused logins, in a minute; Retry-After says when to try again.",
    500: "Something went wrong in the server or in the model.",
    503: "The model is loading or disabled, or too much waits; try again.",
}
