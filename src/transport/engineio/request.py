"""One request of Engine.IO: what its query says, and the two ways to answer it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from imageserver.errors import DecodeError, EngineRefusal, Refusal
from imageserver.transport import fairness, hub
from imageserver.transport.budget import FULL, SMALL, Account
from imageserver.transport.engineio import v3, v4
from imageserver.transport.engineio.packet import NOOP, EnginePacket
from imageserver.transport.http.origins import Origins

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Headers = Iterable[tuple[str, str]]

_CODECS = {"3": v3, "4": v4}
TRANSPORT_UNKNOWN, SESSION_UNKNOWN, BAD_METHOD, BAD_REQUEST, FORBIDDEN, BAD_VERSION = range(6)
_SENTENCES = (
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
)


class EngineRequest:
    """A request to an Engine.IO server; `parse` it before anything of its query is looked at."""

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse, origins: Origins) -> None:
        self.environ, self._start_response, self._origins = environ, start_response, origins
        self.method: str = environ["REQUEST_METHOD"]
        self.address: str = environ.get("REMOTE_ADDR", "")
        self.kept = ""
        """What the session that it begins keeps of it."""

    @property
    def sock(self) -> hub.Socket:
        """The connection that it came on."""
        sock: hub.Socket = self.environ["transport.connection"].sock
        return sock

    def parse(self) -> None:
        """Read the query. Raises EngineRefusal for a generation or a transport that there is not."""
        query = dict(parse_qsl(self.environ["QUERY_STRING"], keep_blank_values=True))
        codec = _CODECS.get(query.get("EIO", ""))
        if codec is None:
            raise EngineRefusal(BAD_VERSION)
        self.codec, self.transport, self.sid = codec, query.get("transport", ""), query.get("sid", "")
        if self.transport not in ("polling", "websocket"):
            raise EngineRefusal(TRANSPORT_UNKNOWN)
        self.polls = self.method == "GET" and self.transport == "polling"
        # The callback that a JSONP client of generation 3 waits for; and whether binary must be sent as text.
        self.jsonp = query.get("j") if codec is v3 else None
        self.base64 = query.get("b64", "") not in ("", "0", "false") or self.jsonp is not None

    def read(self, most: int, owner: Account) -> bytes | bytearray:
        """The payload, charged to `owner`'s share. Raises OSError, Refusal, and DecodeError above `most` bytes."""
        account: Account = self.environ["transport.account"]
        account.join(owner)
        body: bytes = self.environ["wsgi.input"].read(most + 1)
        if len(body) > most:
            raise DecodeError(f"a payload may have {most} bytes", "max_payload_bytes")
        # What it is decoded to is about as much again, and that of JSONP twice; all goes with the request.
        if len(body) > SMALL and not account.charge("bodies").set(len(body) * (1 if self.jsonp is None else 2)):
            raise Refusal(503, FULL, log=False)
        return body if self.jsonp is None else v3.decode_jsonp(body, fairness.pause)

    def answer(self, body: bytes, content_type: str) -> list[bytes]:
        """Answer 200."""
        return self._answer(body, content_type, self._origins.headers(self.environ, to_all=True))

    def answer_preflight(self) -> list[bytes]:
        """Answer what a browser asks before a page of another origin may ask, and any other OPTIONS alike."""
        headers = self._origins.headers(self.environ, to_all=True)
        if headers:
            headers += self._origins.preflight(self.environ, ("GET", "OPTIONS", "POST"))
        return self._answer(b"", "text/plain", headers)

    def _answer(self, body: bytes, content_type: str, headers: list[tuple[str, str]]) -> list[bytes]:
        kind = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        self._start_response("200 OK", kind + headers)
        return [body]

    def answer_packets(self, packets: Sequence[EnginePacket], base64: bool) -> list[bytes]:
        """Answer a poll; NOOP when there is nothing."""
        body, content_type = self.codec.encode_payload(packets or [EnginePacket(NOOP)], base64=base64)
        if self.jsonp is not None:
            body, content_type = v3.encode_jsonp(body, self.jsonp)
        return self.answer(body, content_type)

    def refuse(self, refusal: EngineRefusal) -> list[bytes]:
        """Answer with what went wrong. An origin that is not allowed is not told that it is."""
        fields = {"code": refusal.code, "message": refusal.sentence or _SENTENCES[refusal.code]}
        body = json.dumps(fields, separators=(",", ":")).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *refusal.headers]
        if refusal.code != FORBIDDEN:
            headers += self._origins.headers(self.environ, to_all=True)
        self._start_response(refusal.status, headers)
        return [body]
