"""What the HTTP applications share: answers, refusals, credentials, and bodies received into one buffer."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import Response, request

from imageserver.errors import (
    ImageServerError,
    LimitExceeded,
    ModelUnavailable,
    NotAllowed,
    PictureError,
    SettingError,
    Stopping,
    UnknownModel,
)
from imageserver.inference.shared import wire
from imageserver.web import basic_auth

MAX_BODY = 16 * 2**20
"""Bytes of a request body."""

PIECE = 2**16
"""Bytes read at once."""

FAILED = "something went wrong in the server; its log says what"

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Refused(Exception):
    """The request ends here: a status code, a sentence for the client, further headers."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Interrupted(Exception):
    """The body did not arrive: the client went away or was too slow. The transport knows what to do about `cause`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`data` as JSON."""
    response = Response(_encode(data), status, headers, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def refuse(error: Refused) -> Response:
    """`{"error": sentence}`."""
    return answer({"error": error.sentence}, error.status, error.headers)


def refusal(error: ImageServerError) -> Refused:
    """What a client hears of an error of the project; SettingError is for the operator alone."""
    if isinstance(error, UnknownModel):
        return Refused(404, str(error))
    if isinstance(error, NotAllowed):
        return Refused(403, str(error))
    if isinstance(error, PictureError):
        return Refused(415, str(error))
    if isinstance(error, (ModelUnavailable, Stopping, LimitExceeded)):
        return Refused(503, str(error), Retry_After="5")
    return Refused(500, FAILED if isinstance(error, SettingError) else str(error))


def credentials() -> tuple[str, str]:
    """Name and password that the request carries. Refused with 401 when it has none."""
    try:
        return basic_auth.parse(request.headers.get("Authorization", ""))
    except NotAllowed as error:
        demand(str(error))


def demand(sentence: str) -> NoReturn:
    """Refuse with 401."""
    raise Refused(401, sentence, WWW_Authenticate=basic_auth.REALM)


def body(most: int) -> bytearray:
    """The body, received into one buffer. Refused: empty (400), over `most` bytes (413), compressed (415). Interrupted."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "send the body as it is: compressed bodies are not taken")
    length = request.headers.get("Content-Length")
    if length is not None and int(length) > most:  # the transport checked that it is a number
        raise _too_large(length, most)
    try:
        return _receive(request.environ["wsgi.input"], most)
    except Refused:
        raise
    except Exception as error:
        raise Interrupted(error) from error


def _receive(stream: Any, most: int) -> bytearray:
    # It grows as the body comes, which for large ones moves pages and not bytes: making and clearing 16 MB at once would
    # hold the loop for milliseconds.
    buffer = bytearray()
    while piece := stream.read1(PIECE):
        buffer += piece
        if len(buffer) > most:
            raise _too_large(f"over {most}", most)
    if not buffer:
        raise Refused(400, "the body is empty")
    return buffer


def _too_large(length: str, most: int) -> Refused:
    return Refused(413, f"the body has {length} bytes; at most {most} are taken")


def picture_form() -> str:
    """How the body holds a picture, by its Content-Type: a wire.CONTENT_…. Refused with 415."""
    kind = request.mimetype
    if kind == "application/json":
        return wire.CONTENT_JSON
    if kind.startswith("image/"):
        return wire.CONTENT_IMAGE
    if kind == "multipart/form-data":
        boundary = request.mimetype_params.get("boundary", "")
        if not 0 < len(boundary) <= 70 or not boundary.isascii():
            raise Refused(400, "the multipart form's Content-Type names no proper boundary")
        return f"{wire.CONTENT_MULTIPART};{boundary}"
    sentence = 'send JSON ({"image": "<base64>"}), a picture (image/…), or a form (multipart/form-data)'
    raise Refused(415, f"{sentence}, not {kind[:64]!r}" if kind else f"{sentence}, and say which by Content-Type")
