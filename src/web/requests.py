"""What views of every HTTP application use: the request and its body, answers, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import werkzeug
from werkzeug import Response

from imageserver import limits, metrics
from imageserver.accounts import cameras
from imageserver.accounts.database import User
from imageserver.errors import (
    BodyError,
    Interrupted,
    LimitExceeded,
    LoginPaused,
    ManifestError,
    ModelError,
    ModelUnavailable,
    NotAllowed,
    PictureError,
    Refused,
    Stopping,
    TooLarge,
    UnknownModel,
    UsersUnavailable,
)
from imageserver.inference.shared import request_bodies
from imageserver.transport.budget import Account, unlimited

__all__ = ["Interrupted", "Refused", "Request", "Response", "answer"]

MAX_BODY = 16 * 2**20
"""Bytes of a request body."""

PIECE = 2**16
"""Bytes read at once."""

FAILED = "something went wrong in the server; its log says what"

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (BodyError, 400),
    (NotAllowed, 403),
    (UnknownModel, 404),
    (TooLarge, 413),
    (PictureError, 415),
    (ModelUnavailable, 503),
    (Stopping, 503),
    (UsersUnavailable, 503),
    (LoginPaused, 429),
    (LimitExceeded, 503),
)
"""The status code for an error of the project that a view lets through."""

_NEVER = re.compile(r"(?:^|;)\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)")
"""The weight of what is not wanted (RFC 9110, section 12.4.2)."""

_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


class Request(werkzeug.Request):
    """A request, as its door lets it in."""

    user: User | None = None
    """Who is asking; None where nobody logged in."""
    most: int = 0
    """Bytes that its body may have."""

    @property
    def camera(self) -> str:
        """The name that the camera said (`?name=`, docs/protocols.md), or that of its user's camera; "" for none.

        Raises:
            Refused: no name (400), or of a camera that is not its user's (404).
        """
        try:
            said = cameras.said(self.environ.get("QUERY_STRING", ""))
        except NotAllowed as error:
            raise Refused(400, str(error)) from None
        try:
            return cameras.of_user(self.user.only, self.user.camera, said) if self.user else said
        except NotAllowed as error:
            raise Refused(404, str(error)) from None

    @property
    def account(self) -> Account:
        """To which its body is charged; under another WSGI server than ours, one that refuses nothing."""
        return self.environ.get("transport.account") or unlimited()

    @property
    def wants_page(self) -> bool:
        """Whether HTML is asked for, as browsers do; programs that take anything do not."""
        for kind in self.headers.get("Accept", "").lower().split(","):
            name, _, parameters = kind.partition(";")
            if name.strip() == "text/html":
                return not _NEVER.search(parameters)
        return False


def refusal(error: Exception) -> Refused:
    """What a client is told of an error: its own sentence, where that is meant for clients."""
    if isinstance(error, Refused):
        return error
    for kind, status in _STATUS:
        if isinstance(error, kind):
            seconds = error.seconds if isinstance(error, LoginPaused) else 5
            return Refused(status, str(error), **({"Retry_After": str(seconds)} if status in (429, 503) else {}))
    for_clients = isinstance(error, ModelError) and not isinstance(error, ManifestError)
    return Refused(500, str(error) if for_clients else FAILED)


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`data` as JSON."""
    return json_answer(encoded(data), status, headers)


def encoded(data: Any) -> bytes:
    """`data` as JSON in UTF-8."""
    return _encoder.encode(data).encode()


def json_answer(text: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """What is JSON already."""
    response = Response(text, status, headers, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def json_error(refused: Refused) -> Response:
    """`{"error": sentence}`."""
    return answer({"error": refused.sentence}, refused.status, refused.headers)


def text_error(refused: Refused) -> Response:
    """The sentence as a line of text."""
    headers = {"Cache-Control": "no-store", **refused.headers}
    return Response(f"{refused.sentence}\n", refused.status, headers, mimetype="text/plain")


def body(request: Request, protocol: str) -> bytearray:
    """Receive the picture in a request's body.

    Args:
        request: Whose body.
        protocol: Under which name one that is too large is counted.

    Raises:
        Refused: empty (400), over `request.most` bytes (413), compressed (415).
        Interrupted: it did not arrive.
    """

    def too_large() -> None:
        limits.hit("max_frame_bytes", request.account.owner)
        metrics.FRAMES_REFUSED.inc(protocol, "too large")

    return receive(request, too_large)


def receive(request: Request, too_large: Callable[[], None]) -> bytearray:
    """Receive the request's body into one buffer. Raises as `body` does; `too_large` counts one that is."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "send the body as it is: compressed bodies are not taken")
    most, length = request.most, request.headers.get("Content-Length")
    if length is not None and int(length) > most:  # the transport checked that it is a number
        too_large()
        raise _too_large(length, most)
    # It grows as the body comes, which for large ones moves pages and not bytes: making and clearing 16 MB
    # at once would hold the loop for milliseconds.
    buffer = bytearray()
    while piece := _read(request):
        buffer += piece
        if len(buffer) > most:
            too_large()
            raise _too_large(f"over {most}", most)
    if not buffer:
        raise Refused(400, "the body is empty")
    return buffer


def _too_large(length: str, most: int) -> Refused:
    return Refused(413, f"the body has {length} bytes; at most {most} are taken")


def _read(request: Request) -> bytes:
    try:
        piece: bytes = request.environ["wsgi.input"].read1(PIECE)
        return piece
    except Exception as error:
        raise Interrupted(error) from error


def content_of(request: Request, data: bytearray) -> str:
    """What the body is (wire.CONTENT_…), told by its content. BodyError."""
    return request_bodies.content_of(request.mimetype, request.mimetype_params.get("boundary", ""), data)


def check_type(request: Request) -> None:
    """Refuse a Content-Type that is neither for pictures nor for JSON (415); what the body is, its content tells."""
    if not (request.mimetype.startswith("image/") or request.mimetype in request_bodies.TYPES):
        sentence = 'send JSON ({"image": "<base64>"}), a picture (image/…), or a form (multipart/form-data)'
        raise Refused(415, f"{sentence}, not {request.mimetype[:64]!r}")
