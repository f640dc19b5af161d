"""Texts that reach others: what clients of `/ws` send, what a stream is asked,
and what stands in the log and the audit."""

from __future__ import annotations

import contextlib
import json
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.fuzz.target import Defect, Target

from imageserver.accounts.audit import LONGEST, cleaned, line_of
from imageserver.accounts.store import bearer
from imageserver.errors import BodyError, Refused
from imageserver.lines import printable
from imageserver.protocols.camstream import CamStream
from imageserver.protocols.snap.members import commands
from imageserver.streams import options
from imageserver.transport.websocket import frames
from imageserver.transport.websocket.connection import encode_text
from imageserver.web import json_body

MOST_HZ = 30.0


def relayed(data: bytes) -> None:
    """A text of `/ws`: whatever device would take it for `snap`, the server does too."""
    with contextlib.suppress(UnicodeDecodeError):
        text = data.decode()
        words = {text, text.strip(), text.strip("".join(map(chr, range(33)))), text.strip("\ufeff\u3000 \t\r\n")}
        folded = {form for word in words for form in (word.lower(), word.upper().lower(), word.casefold())}
        if "snap" in folded and not commands(text):
            raise Defect(f"{text!r} passes for a command at some device")
        frame = encode_text(text)
        if frame != frames.frame_header(frames.TEXT, len(data)) + data:
            raise Defect(f"{data!r} goes on as {frame!r}")


class AStream:
    """What `configure` changes."""

    model: str | None = None
    hz: float | None = None

    def configure(self, *, model: str | None = None, hz: float | None = None) -> None:
        self.model, self.hz = model, hz


def configured(data: bytes) -> None:
    """What a client asks of its stream: within what the operator allows."""
    try:
        wanted = json_body.parse(bytearray(data))
    except Refused:
        return
    stream: Any = AStream()
    try:
        options.configure(stream, wanted, MOST_HZ)
    except BodyError as error:
        if len(str(error)) > 300 or not str(error).isprintable():
            raise Defect(f"a sentence that is none: {error}") from None
        return
    if stream.hz is not None and not 0 < stream.hz <= MOST_HZ:
        raise Defect(f"{stream.hz} frames a second; {MOST_HZ} are allowed")
    if stream.model is not None and stream.model != wanted["model"]:
        raise Defect(f"{stream.model!r} was not asked for")


def asked(data: bytes) -> None:
    """The same, as the apps send it: a text with JSON in it. They are told in JSON whether it was done."""
    stream: Any = AStream()
    camstream: Any = SimpleNamespace(_stream=lambda _client: stream, _hz=MOST_HZ)
    client: Any = None
    with contextlib.suppress(UnicodeDecodeError):
        told = json.loads(CamStream.configure(camstream, client, data.decode()))
        if told["success"] is False and (stream.hz is not None or stream.model is not None):
            raise Defect(f"changed, and told {told!r}")


def lines(data: bytes) -> None:
    """What stands in a file of lines or on a terminal: one line, nothing that steers, no secret."""
    text = data.decode("utf-8", "surrogateescape")
    shown = printable(text)
    if len(shown.splitlines()) > 1 or printable(shown) != shown or "\x1b" in shown:
        raise Defect(f"{shown!r:.300} is no line")
    token, _ = bearer.made(bearer.TOKEN)
    secret = token.rpartition("_")[2]
    for before in (text[: LONGEST - len(token) // 2], text[:20], ""):
        noted = cleaned(f"{before}{token} {text}", LONGEST)
        if secret[:8] in noted or len(noted.splitlines()) > 1:
            raise Defect(f"{noted!r} has a secret, or more than one line")
    line = line_of("login refused", 0.0, {"user": cleaned(text, LONGEST), "address": "a", "detail": cleaned(text, 500)})
    if len(line.splitlines()) != 1 or len(line) > 12 * (LONGEST + 500) + 400:
        raise Defect(f"{line!r} is no line")
    json.loads(line.encode())


SNAPS = (
    "snap",
    "SNAP",
    "\u017fnap",
    "snap\u00a0",
    "\ufeffsnap",
    "snap\n",
    "\x1csnap",
    "snap\u2028",
    "sna\u00adp",
    "s nap",
)


def some_text(random: Random) -> bytes:
    parts = (*SNAPS, " ", "\u3000", "\u200b", "\t", "\x85", "a", "\x1b[2J", "\u202e", "\U0001f600")
    return "".join(random.choices(parts, k=random.randrange(5))).encode()


def some_options(random: Random) -> bytes:
    values = ("lenet", "", 5, 0, -1, 1e6, 1e7, 10**400, True, None, [], {}, "x" * 100, 0.5)
    wanted = {random.choice(("model", "hz", "name", "\n")): random.choice(values) for _ in range(random.randrange(4))}
    return json.dumps(wanted).replace('"inf"', random.choice(("NaN", "1e999", "Infinity"))).encode()


_TOKEN = b"imageserver_token_0123456789ab_"

TARGETS = [
    Target(
        name="relay-texts",
        run=relayed,
        seeds=tuple(snap.encode() for snap in SNAPS),
        covers=("protocols.snap.members", "transport.websocket.connection"),
        words=(b"snap", "\u017f".encode(), "\u3000".encode(), b" ", b"\xef\xbb\xbf", b"\xe2\x80\x8b"),
        shape=some_text,
    ),
    Target(
        name="stream-options",
        run=configured,
        seeds=(b'{"model":"lenet","hz":5}', b'{"hz":NaN}', b'{"hz":1e999}', b'{"a":1}', b"[]",
        b'{"hz":1' + b"0" * 400 + b"}"),
        covers=("streams.options", "web.json_body"),
        words=(b'"model":', b'"hz":', b"1e308", b"-", b"NaN", b"\\ud800", b"null", b"[", b"{"),
        shape=some_options, byte_memory=200,
    ),
    Target(
        name="stream-options-text",
        run=asked,
        seeds=(b'{"model":"lenet","hz":5}', b'{"hz":1e999}', b"[[[[", b'"a"', b""),
        covers=("protocols.camstream", "streams.options"),
        words=(b'"model":', b'"hz":', b"1e308", b"-", b"NaN", b"\\ud800", b"null", b"[", b"{"),
        shape=some_options, byte_memory=200,
    ),
    Target(
        name="lines",
        run=lines,
        seeds=(b"a line", b"\x1b[2Jcleared\r\n", "\u202e\u2028\u0085".encode(), b"\xff\xfe", _TOKEN + b"secret",
        b"a" * 200),
        covers=("lines", "accounts.audit", "accounts.store.bearer"),
        words=(_TOKEN, b"\x1b", b"\r", b"\xe2\x80\xae", b"\xff", b'"', b"\\"), shape=some_text,
        byte_memory=200,
    ),
]  # fmt: skip
