"""Pictures on demand, as schemas."""

from __future__ import annotations

from typing import Any

from imageserver.web.schemas.shapes import FLAG, TEXT, WHOLE, array, record, ref, said

_LAST = 2**63 - 1

_RECORD = {
    "id": said("integer", "the picture's number"),
    "prediction": ref("Prediction"),
    "received": said("string", "ISO 8601, UTC"),
}
_KEPT = {
    **_RECORD,
    "type": said("string", "such as image/jpeg"),
    "size": said("integer", "bytes"),
    "image": said("string", "the path of the picture itself"),
}
_CAMERA = {"camera": said("string", "where it said its name")}

SCHEMAS: dict[str, Any] = {
    "SnippetPut": record({**_RECORD, **_CAMERA}, required=list(_RECORD)),
    "Snippet": record(
        {
            **_KEPT,
            **_CAMERA,
            "user": said("string", "who put it; for users with the role viewer or admin"),
            "history": array(
                {"type": "object"}, description="with ?history=1, in place of all but `id`: records, newest first"
            ),
        },
        required=["id"],
    ),
    "SnippetList": record({"snippets": array(ref("Snippet"))}),
    "SnippetDeleted": record({"id": WHOLE, "deleted": FLAG}),
}

QUERY: dict[str, dict[str, Any]] = {
    "model": {
        "name": "model",
        "in": "query",
        "description": "the model that looks at it; by default the server's own",
        "schema": {**TEXT, "maxLength": 64},
    },
    "room": {
        "name": "room",
        "in": "query",
        "description": "the room of /ws that is told of it; by default the common one",
        "schema": {**TEXT, "maxLength": 64},
    },
    "name": {
        "name": "name",
        "in": "query",
        "description": "the camera's name",
        "schema": {**TEXT, "maxLength": 64},
    },
    "history": {
        "name": "history",
        "in": "query",
        "description": "1: those that are kept, newest first, in pages",
        "schema": {**TEXT, "enum": ["0", "1", "no", "yes", "false", "true"], "default": "0"},
    },
    "after_number": {
        "name": "after",
        "in": "query",
        "description": "the number behind which the page begins, -1 for the first",
        "schema": {"type": "integer", "minimum": -1, "maximum": _LAST, "default": -1},
    },
    "before": {
        "name": "before",
        "in": "query",
        "description": "where the page of the history begins; take it from the Link header of the page before",
        "schema": {"type": "integer", "minimum": 0, "maximum": _LAST},
    },
}

NUMBER = {"type": "integer", "minimum": 0, "maximum": _LAST}
"""Of a picture, in a path."""
PATH_VARIABLES = {"identity": "the picture's number, the device's own"}
