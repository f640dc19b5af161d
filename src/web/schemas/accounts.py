"""Streams, users, tokens and logins of pages, as schemas: what those see and steer who may."""

from __future__ import annotations

from typing import Any

from imageserver.accounts.database import ROLES, ROTATIONS
from imageserver.web.schemas.shapes import FLAG, TEXT, WHOLE, array, example, record, ref, said

_ROLES = array({"type": "string", "enum": list(ROLES)})
_TIME = said("string", "ISO 8601, UTC")
_ID = {"id": TEXT}

_STREAM = {
    **_ID,
    "name": said("string", "what people see: the camera's name, otherwise the user's"),
    "user": said("string", "the connection's id where nobody has authenticated"),
    "protocol": said("string", "camstream, sessions, …"),
    "model": said("string", "of a session all of them"),
    "fps_in": said("number", "frames a second that came"),
    "fps_answered": said("number", "frames a second that were answered"),
    "age_ms": said(["number", "null"], "from receipt to answer of the last prediction"),
    "dropped": said("integer", "frames that newer ones have replaced"),
    "size": said(["array", "null"], "width and height of the last upright picture in pixels", items=WHOLE),
}
_SETTINGS = {
    "roles": _ROLES,
    "model": said(["string", "null"], "of the user's streams; null: the server's"),
    "hz": said(["number", "null"], "most frames a second; null: the server's", minimum=0, maximum=1000),
    "rotate": said("integer", "clockwise degrees that turn the user's pictures upright", enum=list(ROTATIONS)),
    "only": array(TEXT, description="cameras that the user is bound to; empty: to none"),
    "camera": said(["string", "null"], "what the user's camera is called unless it says so itself; null: nothing"),
}
_TOKEN = {
    **_ID,
    "user": TEXT,
    "name": TEXT,
    "roles": _ROLES,
    "created": _TIME,
    "expires": said(["string", "null"], "ISO 8601, UTC; null: never"),
    "used": said(["string", "null"], "when it was used last, to the hour; null: never"),
}

SCHEMAS: dict[str, Any] = {
    "Stream": record(
        {
            **_STREAM,
            "camera": said("string", "where the stream has a name of one"),
            "front_end": said("string", "with --redis, where it is; only there it can be changed"),
        },
        required=list(_STREAM),
    ),
    "StreamList": array(ref("Stream")),
    "StreamOptions": record(
        {
            "model": TEXT,
            "hz": said("number", "frames a second, 0: no cap", minimum=0),
            "name": said("string", "what the camera is called until it connects anew", minLength=1, maxLength=64),
        },
        required=[],
        minProperties=1,
        additionalProperties=False,
    ),
    "Prediction": said("object", "as it went to the stream's client (docs/protocols.md)"),
    "Disconnected": record({**_ID, "disconnected": FLAG}),
    "User": record({"name": TEXT, **_SETTINGS}),
    "UserList": array(ref("User")),
    "UserChange": record(
        {"password": said("string", "takes 1 to 1,024 bytes"), **_SETTINGS}, required=[], additionalProperties=False
    ),
    "Removed": record({"name": TEXT, "removed": FLAG}),
    "Token": record(_TOKEN),
    "TokenList": array(ref("Token")),
    "TokenWish": record(
        {
            "user": said("string", "whose; by default your own"),
            "roles": {**_ROLES, "description": "some of the user's; by default all of them"},
            "days": said(["number", "null"], "after how many it ends; null: never", exclusiveMinimum=0, maximum=3650),
            "name": said("string", "what you call it", maxLength=64),
        },
        required=[],
        additionalProperties=False,
    ),
    "NewToken": record({**_TOKEN, "token": said("string", "the token itself, here only")}),
    "Revoked": record({**_ID, "revoked": FLAG}),
    "Login": record({"user": TEXT, "password": TEXT}),
    "PageLogin": record({"user": TEXT, "roles": _ROLES, **_ID}),
    "LoggedOut": record({"logged_out": said("boolean", "whether there was a session of a page to end")}),
    "PageSession": record(
        {
            **_ID,
            "user": TEXT,
            "address": said("string", "where the page was when it began"),
            "current": said("boolean", "whether it is the one that asks"),
            "begun": _TIME,
            "seen": said("string", "when it was used last, to the minute; ISO 8601, UTC"),
        }
    ),
    "PageList": array(ref("PageSession")),
}

BODIES: dict[str, dict[str, Any]] = {
    "StreamOptions": example("StreamOptions", {"model": "lenet", "hz": 5}),
    "UserChange": example("UserChange", {"password": "a long one", "roles": ["camera"], "only": ["front door"]}),
    "TokenWish": example("TokenWish", {"name": "front door", "roles": ["camera"], "days": 90}),
    "Login": {
        **example("Login", {"user": "alice", "password": "a long one"}),
        "application/x-www-form-urlencoded": {"schema": ref("Login")},
    },
}

QUERY: dict[str, dict[str, Any]] = {
    "after": {
        "name": "after",
        "in": "query",
        "description": "where the page begins; take it from the Link header of the page before",
        "schema": {"type": "integer", "minimum": 0},
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "rows of the page, at most and by default --list-rows",
        "schema": {"type": "integer", "minimum": 1},
    },
    "fps": {
        "name": "fps",
        "in": "query",
        "description": "most frames a second",
        "schema": {"type": "number", "minimum": 0.1, "maximum": 30, "default": 30},
    },
    "boxes": {
        "name": "boxes",
        "in": "query",
        "description": "whether what was found is drawn into the picture",
        "schema": {"type": "string", "enum": ["1", "0"], "default": "0"},
    },
    "stream": {
        "name": "stream",
        "in": "query",
        "description": "id or name of a stream that is told of; may be there several times",
        "schema": {"type": "array", "items": TEXT},
        "explode": True,
    },
    "force": {
        "name": "force",
        "in": "query",
        "description": "yes: even if you, or everybody, are no admin any more",
        "schema": {"type": "string", "enum": ["no", "yes"], "default": "no"},
    },
}

PATH_VARIABLES = {
    "stream": "the stream's id, or its name, percent-encoded",
    "user": "the user's name, percent-encoded",
    "token": "the token's id",
    "session": "the id of the page's session",
}
