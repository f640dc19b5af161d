"""What REST bodies, answers and parameters look like, for the OpenAPI document: JSON Schema 2020-12, by name."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from imageserver.web.schemas import accounts, snippets
from imageserver.web.schemas.shapes import TEXT, WHOLE, array, record, ref


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


_SCORE = {"type": "number", "minimum": 0, "maximum": 1}
_POINT = array({"type": "number"}, minItems=2, maxItems=3, description="x, y, and a score where there is one")
_SIDE = {"type": "integer", "minimum": 1}

SCHEMAS: dict[str, Any] = {
    "Error": record({"error": {"type": "string", "description": "what happened, and what to do"}}),
    "Text": record({"text": TEXT}),
    "TextList": record({"text": array(TEXT)}),
    "AnyObject": {"type": "object"},
    "Classification": record(
        {
            "number": {"type": "string", "description": "the digit (networks that read digits)"},
            "label": TEXT,
            "score": {**_SCORE, "description": "of the label; for X-rays the probability of pneumonia"},
            "labels": array(record({"label": TEXT, "score": _SCORE}), description="best first"),
            "boxes": array(
                record(
                    {
                        "x": WHOLE,
                        "y": WHOLE,
                        "width": WHOLE,
                        "height": WHOLE,
                        "label": TEXT,
                        "score": _SCORE,
                        "keypoints": array(_POINT, description="of models that find keypoints: in their order"),
                    },
                    required=["x", "y", "width", "height", "label", "score"],
                ),
                description="detections, in pixels of the upright picture",
            ),
            "embedding": array({"type": "number"}, description="of models that give one: a vector of length 1"),
            "values": {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "description": "of models that estimate some: by their labels",
            },
            "input": {
                "type": "string",
                "enum": ["unlike"],
                "description": "there where the picture is unlike those that the model was trained on: then its label "
                "and scores say nothing",
            },
            "size": array(
                WHOLE, minItems=2, maxItems=2, description="width and height of the upright picture in pixels"
            ),
        },
        required=[],
    ),
    "Picture": record(
        {
            "image": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "a picture file; may have line breaks",
            }
        }
    ),
    "TrainingStatus": record(
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
    "Server": record({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
    "Status": record({"status": TEXT, "lacking": TEXT}, ["status"]),
    "Live": record({"live": {"type": "boolean"}}),
    "Ready": record({"ready": {"type": "boolean"}}, required=["ready"]),
    "ModelReady": record({"name": TEXT, "ready": {"type": "boolean"}, "error": TEXT}, required=[]),
    "ModelList": record({"models": array(TEXT)}),
    "TensorDescription": record(
        {"name": TEXT, "datatype": TEXT, "shape": array({"type": "integer", "description": "-1: any"})}
    ),
    "Model": record(
        {
            "name": TEXT,
            "versions": array(TEXT),
            "platform": TEXT,
            "inputs": array(ref("TensorDescription")),
            "outputs": array(ref("TensorDescription")),
        }
    ),
    "InferRequest": record(
        {
            "id": TEXT,
            "parameters": {"type": "object"},
            "inputs": array(
                record(
                    {
                        "name": TEXT,
                        "shape": array(_SIDE, minItems=1),
                        "datatype": {"enum": ["UINT8", "BYTES", "FP32"]},
                        "parameters": {"type": "object"},
                        "data": {"type": "array"},
                    },
                    required=["name", "shape", "datatype"],
                ),
                minItems=1,
                maxItems=1,
            ),
            "outputs": array(record({"name": TEXT, "parameters": {"type": "object"}}, required=["name"])),
        },
        required=["inputs"],
    ),
    "InferAnswer": record(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "id": TEXT,
            "outputs": array(
                record(
                    {
                        "name": TEXT,
                        "datatype": TEXT,
                        "shape": array(WHOLE),
                        "data": {"type": "array"},
                        "parameters": {"type": "object"},
                    },
                    required=["name", "datatype", "shape"],
                )
            ),
        },
        required=["model_name", "model_version", "outputs"],
    ),
    **accounts.SCHEMAS,
    **snippets.SCHEMAS,
}


_FILE = base64.b64encode(EXAMPLE).decode()
_BINARY: dict[str, Any] = {}  # a body that is no text has no schema in OpenAPI 3.1

BODIES: dict[str, dict[str, Any]] = {
    "Picture": {
        "application/json": {"schema": ref("Picture"), "example": {"image": _FILE}},
        **{f"image/{kind}": _BINARY for kind in ("jpeg", "png", "bmp", "tiff", "webp")},
        "multipart/form-data": {
            "schema": record({"image": {"type": "string", "contentMediaType": "application/octet-stream"}})
        },
    },
    "InferRequest": {
        "application/json": {
            "schema": ref("InferRequest"),
            "example": {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [_FILE]}]},
        },
        "application/octet-stream": _BINARY,
    },
    **accounts.BODIES,
}

MEDIA: dict[str | None, dict[str, Any]] = {
    "Html": {"text/html": {"schema": TEXT}},
    "Line": {"text/plain": {"schema": TEXT}},
    "PictureFile": {f"image/{kind}": _BINARY for kind in ("jpeg", "png", "bmp", "tiff", "webp")},
    "Events": {"text/event-stream": {"schema": {"description": "events whose data is a JSON object"}}},
    "Frame": {f"image/{kind}": _BINARY for kind in ("jpeg", "png", "webp", "bmp", "tiff")},
    "Motion": {"multipart/x-mixed-replace": _BINARY},
    "InferAnswers": {"application/json": {"schema": ref("InferAnswer")}, "application/octet-stream": _BINARY},
}

QUERY: dict[str, dict[str, Any]] = {
    **accounts.QUERY,
    **snippets.QUERY,
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
    **accounts.PATH_VARIABLES,
    **snippets.PATH_VARIABLES,
}

CODES = {
    200: "The answer.",
    201: "It was made.",
    302: "Go there.",
    304: "There is nothing newer.",
    400: "The body is empty, or not what its type says; or a parameter has a value that it may not have.",
    401: "Credentials are missing or wrong.",
    403: "The user lacks the role, or may not do this; the sentence says more.",
    404: "There is no such model, picture, stream, user, token or path.",
    405: "This model cannot do that.",
    406: "A training of this model runs, or cannot start; the sentence says more.",
    409: "Not as things stand: no training of this model runs, a name stands for several; the sentence says more.",
    413: "The body has more than {most} bytes.",
    415: "The Content-Type is another, or there is no picture in the body.",
    429: "Too many requests, or refused logins, in a minute; Retry-After says when to try again.",
    500: "Something went wrong in the server or in the model.",
    503: "The model is loading or disabled, or too much waits; try again.",
    507: "There is no room for pictures; the sentence says whose limit that is.",
}
