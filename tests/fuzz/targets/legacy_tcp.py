"""The legacy TCP commands: however the bytes are cut the answers are the same, a file is what was sent, and nothing
is asked for that is not kept within its limit."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Callable
from random import Random

from tests.fuzz.target import Defect, Target

from imageserver.protocols.legacy_tcp import codes
from imageserver.protocols.legacy_tcp.intake import ProtocolTimes
from imageserver.protocols.legacy_tcp.machine import (
    COMMANDS,
    Action,
    CheckSignature,
    Close,
    Conversation,
    Predict,
    Reply,
    Step,
)

LARGEST = 2**14
NONCE = bytes(range(codes.NONCE_BYTES))
MODELS = {"INCE": "inception", "VGG!": "vgg", "ENSE": "ensemble"}
PAUSE = b"\xfe\xfd"
"""Stands for a pause, after which BYE and VGG count as complete."""
SIGNED = b"signed"


def converse(data: bytes, sizes: Callable[[], int]) -> list[object]:
    """What the server says and does, when everything comes at once but in pieces of these sizes."""
    asks_for_key = data[:1] == b"A"
    conversation = Conversation(
        find_model=MODELS.get, accept_file=lambda size: size <= LARGEST, make_nonce=lambda: NONCE,
        authenticated=not asks_for_key, times=ProtocolTimes(),
    )  # fmt: skip
    now = 1.0
    happened = act(conversation, conversation.begin(now), now)
    for number, part in enumerate(data[1:].split(PAUSE)):
        if number:
            now += 0.5
            happened += act(conversation, conversation.timed_out(now), now)
        at = 0
        while at < len(part) and conversation.step is not Step.CLOSED:
            room = conversation.intake.room()
            if not 0 < len(room) <= max(LARGEST, codes.MAX_SIGNATURE_BYTES):
                raise Defect(f"{conversation.step} asks for {len(room)} bytes")
            count = min(len(room), sizes(), len(part) - at)
            room[:count] = part[at : at + count]
            at += count
            happened += act(conversation, conversation.received(count, now), now)
    if conversation.step is not Step.CLOSED:
        happened += act(conversation, conversation.ended(now), now)
    if conversation.step is not Step.CLOSED or conversation.file is not None:
        raise Defect(f"{conversation.step} when the client has left, with {conversation.buffered} bytes")
    return happened


def act(conversation: Conversation, actions: list[Action], now: float) -> list[object]:
    """Answer what the machine asks, until it waits for its client."""
    happened: list[object] = []
    while actions:
        further: list[Action] = []
        for action in actions:
            if happened and isinstance(happened[-1], Close):
                raise Defect(f"{action!r} behind the close")
            if isinstance(action, Predict):
                picture = bytes(action.picture)
                happened.append((action.model, hashlib.sha256(picture).hexdigest()))
                further = conversation.predicted(codes.NORMAL if picture else codes.NO_PICTURE, now)
            elif isinstance(action, CheckSignature):
                if action.nonce != NONCE or len(action.signature) > codes.MAX_SIGNATURE_BYTES:
                    raise Defect(f"{action!r} is not of this nonce, or too long")
                further = conversation.checked(action.signature == SIGNED, now)
            else:
                happened.append(action)
        actions = further
    return happened


def conversation(data: bytes) -> None:
    """Three cuts of what a client sends."""
    whole = converse(data, lambda: 1 << 30)
    random = Random(zlib.crc32(data))
    for sizes in (lambda: random.choice((1, 2, 3, 9, 100, 5000)), lambda: 1):
        pieces = converse(data, sizes) if len(data) <= 2000 or sizes() > 1 else whole
        if pieces != whole:
            raise Defect(f"whole {whole!r:.500}, in pieces {pieces!r:.500}")
    if data[:1] == b"A" and not accepted(whole) and any(isinstance(what, tuple) for what in whole):
        raise Defect("a model was asked for somebody without a key")


def accepted(happened: list[object]) -> bool:
    """Whether a signature was right: its 0 comes directly behind that with the nonce, and everything else got 6."""
    pairs = itertools.pairwise(happened)
    return any(one == Reply(codes.DONE + NONCE) and other == Reply(codes.DONE) for one, other in pairs)


def size(data: bytes) -> None:
    """A padded size: the one run of digits, whatever stands about it."""
    found = codes.parse_size(data)
    runs = "".join(chr(byte) if 48 <= byte <= 57 else " " for byte in data).split()
    if found != (int(runs[0]) if len(runs) == 1 else None):
        raise Defect(f"{data!r} is {found}")


def some_commands(random: Random) -> bytes:
    """Commands with their arguments, most of them proper."""
    picture = random.randbytes(random.choice((0, 1, 7, 300, LARGEST, LARGEST + 1)))
    said = [random.choice((b"A", b"-"))]
    for _ in range(random.choice((1, 3, 6, 12))):
        name = random.choice(COMMANDS[:5] if random.random() < 0.9 else COMMANDS)
        said.append(name.encode() if random.random() < 0.8 else name.lower().encode())
        if name == "FILE":
            pad = random.choice((b"z", b" ", b"\x00", b"5"))
            said += [(b"%d" % len(picture)).ljust(codes.SIZE_BYTES, pad), picture]
        elif name == "MODE":
            said.append(random.choice((b"INCE", b"vgg!", b"XXXX", b"ENSE", b"VGG" + PAUSE, b"VGG" + PAUSE + b"\n")))
        elif name == "HASH":
            digest = hashlib.sha256(picture).hexdigest()
            said.append((digest if random.random() < 0.7 else digest.upper()[::-1]).encode())
        elif name == "AUTH":
            signature = random.choice((SIGNED, SIGNED, b"wrong", b""))
            said += [(b"%d" % len(signature)).ljust(codes.SIZE_BYTES, b"z"), signature]
        if random.random() < 0.05:
            said.append(PAUSE)
    said.append(random.choice((b"", b"BYE!", b"BYE", b"BYE" + PAUSE, b"bye?")))
    return b"".join(said)


_FILE = b"FILE5zzzzzzzzzhello"

TARGETS = [
    Target(
        name="legacy-tcp",
        run=conversation,
        seeds=(
            b"-" + _FILE + b"MODEINCEPRED" + b"HASH" + hashlib.sha256(b"hello").hexdigest().encode() + b"BYE!",
            b"AMODEAUTH6zzzzzzzzz" + SIGNED + b"MODEVGG" + PAUSE + b"!" + _FILE + b"PREDBYE",
            b"AAUTH5zzzzzzzzzwrong", b"-FILEzzzzzzzzzzFILE9999999999FILE0000000000",
            b"-MODEVGG" + PAUSE + b"modeXXXXBYE" + PAUSE,
            b"AAUTH0zzzzzzzzz", b"-XXXX", b"-" + _FILE * 3 + b"HASHPRED",
        ),
        covers=("protocols.legacy_tcp.machine", "protocols.legacy_tcp.intake", "protocols.legacy_tcp.codes"),
        words=(*(name.encode() for name in COMMANDS), PAUSE, _FILE, b"VGG", b"INCE", b"zzzzzzzzzz", b"16384zzzzz",
        SIGNED),
        shape=some_commands, byte_seconds=1e-5,  # a byte by itself is a step of the machine
        byte_memory=300,  # a reply is an object
    ),
    Target(
        name="legacy-tcp-size",
        run=size,
        seeds=(b"48213zzzzz", b"          ", b"1 2", b"0000000000", b"\n5\n", b"zzzz5"),
        covers=("protocols.legacy_tcp.codes",), words=(b"\n", b"9999999999", b"\xd9\xa3"), longest=codes.SIZE_BYTES,
    ),
]  # fmt: skip
