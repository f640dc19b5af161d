"""Every rule of the protocol, without sockets and without waiting."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.legacy_tcp.talking import MODELS, NONCE, Talk, file, padded

from imageserver.protocols.legacy_tcp import codes, intake, machine
from imageserver.protocols.legacy_tcp.intake import ProtocolTimes
from imageserver.protocols.legacy_tcp.machine import Step

PICTURE = b"a picture"
DIGEST = hashlib.sha256(PICTURE).hexdigest().encode()

# bytes from the client, everything from the server but the `?`, and why it closed ("": it did not)
TABLE = [
    (file(PICTURE) + b"MODEINCEPREDBYE!", b"00000P0", "bye"),
    (b"MODEINCE" + file(PICTURE) + b"PREDPRED", b"00000P0P", ""),
    (b"MODEXCEPMODEENSE", b"0000", ""),
    (b"modeinceMoDeVgG!", b"0000", ""),
    (b"MODERESN", b"03", ""),
    (b"MODE\0\0\0\0MODE????", b"0303", ""),
    (b"MODE\xff\xc3\xa9\xee", b"03", ""),
    (b"MODEVGGX", b"03", ""),
    (b"PRED", b"1", ""),
    (b"MODEINCEPRED", b"001", ""),
    (file(PICTURE) + b"PRED", b"001", ""),
    (b"HASH", b"1", ""),
    (file(PICTURE) + b"HASH" + DIGEST, b"0000", ""),
    (file(PICTURE) + b"HASH" + DIGEST.upper(), b"0000", ""),
    (file(PICTURE) + b"HASH" + b"0" * 64, b"0004", ""),
    (file(PICTURE) + b"HASH" + b"\xff" * 64, b"0004", ""),
    (file(PICTURE) + file(b"another") + b"HASH" + DIGEST, b"000004", ""),
    (b"FILE0zzzzzzzzzHASH" + hashlib.sha256().hexdigest().encode(), b"0000", ""),
    (b"FILE          MODEINCE", b"0200", ""),
    (b"FILEzzzzzzzzzzBYE!", b"020", "bye"),
    (b"FILE1001zzzzzzPRED", b"021", ""),
    (b"FILE9999999999", b"02", ""),
    (b"FILE1z2zzzzzzz", b"02", ""),
    (b"FILE-2zzzzzzzz12", b"00", ""),
    (b"FILE       9\r\n" + PICTURE[1:], b"00", ""),
    (b"FILE0000000009" + PICTURE + b"PRED", b"001", ""),
    (b"FILE\xd9\xa9\xd9\xa9\xd9\xa9\xd9\xa9zz", b"02", ""),  # digits, but not of ASCII
    (b"BYE?", b"0", "bye"),
    (b"BYE\0MODE", b"0", "bye"),
    (b"bye!", b"0", "bye"),
    (b"QUIT", b"", "unknown command"),
    (b"MODEINCEGET / HTTP/1.1\r\n", b"00", "unknown command"),
    (b"\0\0\0\0", b"", "unknown command"),
]


@pytest.mark.parametrize(("sent", "expected", "reason"), TABLE)
@pytest.mark.parametrize("pieces", ["whole", "bytes", "random"])
def test_the_table(sent: bytes, expected: bytes, reason: str, pieces: str) -> None:
    chance = random.Random(len(sent))
    talk = Talk()
    while sent:
        count = {"whole": len(sent), "bytes": 1, "random": chance.randint(1, 7)}[pieces]
        talk.feed(sent[:count])
        sent = sent[count:]
    assert talk.said == b"?" + expected
    assert talk.closed == reason


def test_each_reply_comes_as_soon_as_it_is_due() -> None:
    talk = Talk()
    dialogue = [
        (b"", b"?"), (b"FIL", b""), (b"E", b"0"), (b"9zzzzzzzz", b""), (b"z", b"0"), (PICTURE, b""),
        (b"MODE", b"0"), (b"INCE", b"0"), (b"PRED", b"0P"), (b"HASH", b"0"), (DIGEST, b"0"), (b"BYE!", b"0"),
    ]  # fmt: skip
    for sent, expected in dialogue:
        assert talk.feed(sent).replies() == expected
    assert talk.predictions == [("inception", PICTURE)]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (b"48213zzzzz", 48213),
        (b"         7", 7),
        (b"zz12345zzz", 12345),
        (b"0000000000", 0),
        (b"9999999999", 9999999999),
        (b"5" + b"\n" * 9, 5),
        (b"\xff\xff3" + b"\xff" * 7, 3),
        (b"zzzzzzzzzz", None),
        (b"1 2       ", None),
        (b"\0" * 10, None),
    ],
)
def test_sizes(text: bytes, size: int | None) -> None:
    assert codes.parse_size(text) == size


@pytest.mark.parametrize(
    ("label", "reply"),
    [
        ("pneumonia", b"0P"),
        ("PNEUMONIA", b"0P"),
        ("normal", b"0N"),
        ("Normal ", b"0N"),
        ("none", b"0N"),
        ("cat", b"3"),
        ("", b"3"),
    ],
)
def test_labels(label: str, reply: bytes) -> None:
    assert codes.reply_for(label) == reply


@pytest.mark.parametrize("answer", [b"0P", b"0N", b"3", b"5"])
def test_what_the_model_says_reaches_the_client_and_the_connection_goes_on(answer: bytes) -> None:
    talk = Talk(answer=lambda _model, _picture: answer).feed(file(PICTURE) + b"MODEINCE")
    talk.replies()
    assert talk.feed(b"PREDPRED").replies() == answer * 2
    assert not talk.closed


@pytest.mark.parametrize(
    ("sent", "pause", "step"),
    [
        (b"", 0, Step.COMMAND),
        (b"MODE", 0, Step.CODE),
        (b"MODEINCE", 0, Step.COMMAND),
        (b"MODEVGG", 1, Step.AFTER_VGG),
        (b"FILE", 0, Step.SIZE),
        (b"FILEzzzzzzzzzz", 0, Step.COMMAND),
        (b"FILE9zzzzzzzzz", 0, Step.FILE),
        (b"FILE0zzzzzzzzz", 0, Step.COMMAND),
        (file(PICTURE), 0, Step.COMMAND),
        (file(PICTURE) + b"HASH", 0, Step.DIGEST),
        (b"HASH", 0, Step.COMMAND),
        (b"PRED", 0, Step.COMMAND),
        (b"AUTH", 0, Step.SIGNATURE_SIZE),
        (b"AUTH" + padded(5), 0, Step.SIGNATURE),
        (b"AUTH" + padded(5) + b"right", 0, Step.COMMAND),
        (b"AUTH" + padded(5) + b"wrong", 0, Step.CLOSED),
        (b"BYE!", 0, Step.CLOSED),
        (b"QUIT", 0, Step.CLOSED),
        (b"PRE", 21, Step.CLOSED),
    ],
)
def test_a_connections_life(sent: bytes, pause: float, step: Step) -> None:
    assert Talk().feed(sent).wait(pause).machine.step is step


def test_the_drawing_has_every_step() -> None:
    assert machine.__doc__ is not None
    assert [step.name for step in Step if step.name not in machine.__doc__] == []


# ---- what a refusal leaves in place -------------------------------------------------------------------------------


def test_a_refused_file_or_model_leaves_the_earlier_in_place() -> None:
    talk = Talk().feed(
        file(PICTURE) + b"MODEINCE" + b"FILEzzzzzzzzzz" + b"FILE5000zzzzzz" + b"MODERESN" + b"PRED" + b"HASH" + DIGEST
    )
    assert talk.said == b"?00000202030P00"
    assert talk.predictions == [("inception", PICTURE)]


def test_a_new_file_and_a_new_model_replace_the_earlier() -> None:
    talk = Talk().feed(file(PICTURE) + b"MODEINCE" + file(b"two") + b"MODEENSE" + b"PRED")
    assert talk.predictions == [("ensemble", b"two")]


# ---- commands without their fourth byte ---------------------------------------------------------------------------


def test_bye_and_a_pause() -> None:
    talk = Talk().feed(b"BYE")
    talk.wait(0.29)
    assert not talk.closed
    talk.wait(0.02)
    assert (talk.said, talk.closed) == (b"?0", "bye")


def test_the_pause_counts_from_the_third_letter() -> None:
    talk = Talk().feed(b"BY").wait(5).feed(b"E").wait(0.2)
    assert not talk.closed
    assert talk.feed(b"\n").closed == "bye"
    assert talk.said == b"?0"


def test_bye_and_the_end() -> None:
    assert (Talk().feed(b"BYE").end().said, Talk().feed(b"bye").end().closed) == (b"?0", "bye")


def test_an_end_anywhere_else_gets_no_reply() -> None:
    for sent, said in [
        (b"", b"?"),
        (b"B", b"?"),
        (b"BY", b"?"),
        (b"FIL", b"?"),
        (b"PRE", b"?"),
        (b"FILE", b"?0"),
        (b"FILE4zzzzzzzzzabc", b"?00"),
    ]:
        talk = Talk().feed(sent).end()
        assert (talk.said, talk.closed) == (said, "left")


def test_vgg_without_its_mark() -> None:
    talk = Talk().feed(b"MODEVGG")
    assert talk.wait(0.29).said == b"?0"
    assert talk.wait(0.02).said == b"?00"
    assert talk.machine.model == "vgg"


@pytest.mark.parametrize("late", [b"!", b"\n", b"\0", b"7", b"\xe9"])
def test_after_it_one_byte_that_is_no_letter_is_dropped(late: bytes) -> None:
    talk = Talk().feed(b"MODEvgg").wait(0.4).feed(late)
    assert talk.said == b"?00"
    assert talk.feed(b"MODEINCE").said == b"?0000"
    talk = Talk().feed(b"MODEVGG").wait(0.4).feed(late + b"MODEINCE")
    assert talk.said == b"?0000"


def test_only_one_byte_is_dropped_and_only_the_next() -> None:
    assert Talk().feed(b"MODEVGG").wait(0.4).feed(b"!!PRE").closed == "unknown command"
    assert Talk().feed(b"MODEVGG").wait(0.4).feed(b"PRED!PRE").closed == "unknown command"
    assert Talk().feed(b"MODEVGG!!PRE").closed == "unknown command"


def test_a_dropped_byte_before_bye() -> None:
    talk = Talk().feed(b"MODEVGG").wait(0.4).feed(b"!BYE").wait(0.4)
    assert (talk.said, talk.closed) == (b"?000", "bye")


def test_vgg_and_the_end_is_answered() -> None:
    talk = Talk().feed(b"MODEVGG").end()
    assert (talk.said, talk.closed) == (b"?00", "left")


def test_other_models_of_three_letters_wait_for_their_fourth() -> None:
    assert Talk().feed(b"MODEINC").wait(19).feed(b"E").said == b"?00"


# ---- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"PRE",
        b"FILE",
        b"FILE12",
        b"MODE",
        b"MODEINCE",
        file(PICTURE),
        file(PICTURE) + b"HASH" + DIGEST[:63],
        b"FILEzzzzzzzzzz",
    ],
)
def test_twenty_seconds_without_a_complete_command_close(sent: bytes) -> None:
    talk = Talk().wait(10).feed(sent)
    if sent == b"PRE":  # no complete command yet: the clock runs from the start
        assert not talk.wait(9.9).closed
        assert talk.wait(0.2).closed == "silent"
    elif sent:
        assert not talk.wait(19.9).closed
        assert talk.wait(0.2).closed == "silent"
    else:
        assert talk.wait(10.1).closed == "silent"


def test_bytes_that_complete_nothing_do_not_stop_the_clock() -> None:
    talk = Talk().feed(file(PICTURE) + b"HASH")
    for byte in DIGEST[:19]:
        talk.wait(1.04).feed(bytes([byte]))
    assert not talk.closed
    assert talk.wait(1.04).closed == "silent"


def test_a_late_byte_finds_the_connection_closed_even_if_it_was_seen_before_the_clock() -> None:
    talk = Talk().feed(b"PRE")
    talk.now += 21
    assert talk.feed(b"D").closed == "slow"


def test_a_byte_a_second_is_in_time_for_a_command() -> None:
    talk = Talk()
    for byte in file(b"slow but here") + b"MODEINCEPRED":
        talk.wait(1).feed(bytes([byte]))
    assert talk.said == b"?00000P"


def test_a_file_has_twenty_seconds_and_one_for_each_thousand_bytes() -> None:
    for late in (False, True):
        talk = Talk(largest=50_000).feed(b"FILE" + padded(50_000))
        for _ in range(6):
            talk.wait(10).feed(b"x" * 8000)
        assert not talk.closed
        talk.wait(10.1 if late else 9.9).feed(b"x" * 2000)
        assert talk.closed == ("slow" if late else "")


def test_a_file_never_pauses_for_twenty_seconds() -> None:
    piece = b"x" * 20_000
    talk = Talk(largest=500_000).feed(b"FILE" + padded(500_000)).wait(19.9).feed(piece).wait(19.9).feed(piece)
    assert not talk.closed
    assert talk.wait(20.1).closed == "silent"


def test_what_came_fast_at_first_buys_no_pauses() -> None:
    """At 1,000 bytes a second, and with 20 s to spare, the file would have minutes; but the rest comes by the byte."""
    talk = Talk(largest=500_000).feed(b"FILE" + padded(500_000) + b"x" * 400_000)
    talk.wait(19).feed(b"x").wait(19).feed(b"x")
    assert not talk.closed
    assert talk.wait(2.1).closed == "slow"
    slow = Talk(largest=500_000).feed(b"FILE" + padded(500_000) + b"x" * 400_000)
    for _ in range(50):
        slow.wait(1.9).feed(b"x" * 1000)
    assert not slow.closed, "half of what is demanded on average is made up for by the 20 s of each window"


def test_the_clock_begins_anew_after_a_file() -> None:
    talk = Talk(largest=30_000).feed(b"FILE" + padded(30_000)).wait(15).feed(b"x" * 29_999).wait(19).feed(b"x")
    assert not talk.wait(19.9).closed
    assert talk.wait(0.2).closed == "silent"


def test_the_clock_does_not_run_while_a_model_does() -> None:
    def slow(_model: str, _picture: bytes) -> bytes:
        assert talk.machine.intake.deadline == float("inf")
        talk.now += 100
        return b"0N"

    talk = Talk(answer=slow)
    talk.feed(file(PICTURE) + b"MODEINCE").wait(15).feed(b"PRED")
    assert talk.said.endswith(b"0N")
    assert not talk.wait(19.9).closed
    assert talk.wait(0.2).closed == "silent"


def test_a_deadline_that_has_not_come_changes_nothing() -> None:
    talk = Talk().feed(b"BYE")
    assert talk.machine.timed_out(talk.now) == []


# ---- memory -------------------------------------------------------------------------------------------------------


def test_only_bytes_that_came_are_held() -> None:
    talk = Talk(largest=2**24).feed(b"FILE" + padded(2**24))
    assert talk.machine.buffered == 0
    talk.feed(b"x" * 1000)
    assert talk.machine.buffered == 1000


def test_a_new_file_lets_go_of_the_old_one() -> None:
    talk = Talk().feed(file(PICTURE) + b"FILE" + padded(900))
    assert talk.machine.step is Step.FILE
    assert talk.machine.buffered == 0
    talk.feed(b"x")
    talk.end()
    assert talk.machine.buffered == 0


@pytest.mark.parametrize("size", [0, 1, intake.SMALL_FILE, intake.SMALL_FILE + 1, 2**24])
def test_file_buffers_are_zeroed_and_writable(size: int) -> None:
    space = intake.file_buffer(size)
    assert (len(space), space.readonly, space.format) == (size, False, "B")
    if size:
        assert space[0] == space[-1] == 0
        space[-1] = 7
        assert space[-1] == 7


def test_large_files_arrive_whole() -> None:
    data = random.Random(1).randbytes(300_000)
    talk = Talk(largest=2**20).feed(file(data) + b"HASH" + hashlib.sha256(data).hexdigest().encode() + b"MODEINCEPRED")
    assert talk.said == b"?0000000P"
    assert talk.predictions == [("inception", data)]


# ---- AUTH ---------------------------------------------------------------------------------------------------------

SIGNED = b"AUTH" + padded(5) + b"right"


def test_auth_admits() -> None:
    talk = Talk(authenticated=False)
    assert talk.feed(b"AUTH").replies() == b"?0" + NONCE
    assert talk.feed(padded(5)).replies() == b""
    assert talk.feed(b"right").replies() == b"0"
    assert talk.feed(b"MODEINCE").replies() == b"00"


@pytest.mark.parametrize(
    "wrong", [padded(5) + b"wrong", padded(4) + b"righ", b"zzzzzzzzzz", padded(0), padded(2**20), b"1 2       "]
)
def test_auth_refuses_and_closes(wrong: bytes) -> None:
    for authenticated in (False, True):
        talk = Talk(authenticated=authenticated).feed(b"AUTH" + wrong)
        assert (talk.said, talk.closed) == (b"?0" + NONCE + b"6", "refused")


@pytest.mark.parametrize("command", [b"FILE", b"MODE", b"PRED", b"HASH"])
def test_before_auth_every_other_command_gets_6(command: bytes) -> None:
    talk = Talk(authenticated=False).feed(command * 2)
    assert (talk.said, talk.closed) == (b"?66", "")
    assert talk.feed(SIGNED + command).said.startswith(b"?660" + NONCE + b"0")


def test_whoever_does_not_log_in_in_time_is_refused_and_closed() -> None:
    times = ProtocolTimes(login=30)
    talk = Talk(times=times, authenticated=False).feed(b"MODE").wait(15).feed(b"MODE").wait(14)
    assert (talk.said, talk.closed) == (b"?66", "")
    in_time = Talk(times=times, authenticated=False).feed(SIGNED)
    assert in_time.wait(19).feed(b"MODE").wait(19).feed(b"INCE").closed == ""
    assert Talk(times=times).feed(b"MODE").wait(19).feed(b"INCE").wait(19).feed(b"MODE").closed == ""
    talk.wait(2).feed(b"M")
    assert (talk.said, talk.closed) == (b"?666", "no login")


def test_before_auth_bye_gets_6_too_and_closes() -> None:
    for talk in (
        Talk(authenticated=False).feed(b"BYE!"),
        Talk(authenticated=False).feed(b"BYE").wait(1),
        Talk(authenticated=False).feed(b"BYE").end(),
    ):
        assert (talk.said, talk.closed) == (b"?6", "bye")


def test_before_auth_an_unknown_command_closes() -> None:
    assert Talk(authenticated=False).feed(b"QUIT").closed == "unknown command"


def test_auth_where_nobody_asks_for_it_changes_nothing() -> None:
    assert Talk().feed(b"MODEINCE" + SIGNED + file(PICTURE) + b"PRED").said == b"?000" + NONCE + b"0000P"


@pytest.mark.parametrize("sent", [b"AUTH", b"AUTH" + padded(5)[:9], b"AUTH" + padded(5), b"AUTH" + padded(5) + b"righ"])
def test_auth_has_its_time_too(sent: bytes) -> None:
    assert Talk(authenticated=False).feed(sent).wait(19.9).closed == ""
    assert Talk(authenticated=False).feed(sent).wait(20.1).closed == "silent"


# ---- any order, any fragmentation ---------------------------------------------------------------------------------


class Expected:
    """What the protocol document says that a client gets, kept apart from how the server does it."""

    def __init__(self, asks_for_auth: bool) -> None:
        self.allowed, self.file, self.model, self.over = not asks_for_auth, None, None, False
        self.sent, self.replies = b"", b"?"

    def step(self, kind: str, text: str, data: bytes) -> None:
        if self.over:
            return
        if kind == "AUTH":
            right = data[:1] < b"\xe0"
            self.sent += b"AUTH" + padded(5) + (b"right" if right else b"wrong")
            self.replies += b"0" + NONCE + (b"0" if right else b"6")
            self.allowed |= right
            self.over = not right
        elif kind == "BYE":
            self.sent += b"BYE" + (data[:1] or b"!")
            self.replies += b"0" if self.allowed else b"6"
            self.over = True
        elif kind == "unknown":
            self.sent += b"WHAT"
            self.over = True
        elif not self.allowed:
            self.sent += kind[:4].encode()
            self.replies += b"6"
        elif kind == "FILE":
            self.sent += file(data)
            self.replies += b"00"
            self.file = data
        elif kind == "FILE too large":
            self.sent += b"FILE1001\xff\0zzz\n"
            self.replies += b"02"
        elif kind == "MODE":
            self.sent += b"MODE" + text.encode()
            known = MODELS.get(text.upper())
            self.replies += b"00" if known else b"03"
            self.model = known or self.model
        elif kind == "PRED":
            self.sent += b"PRED"
            self.replies += b"1" if self.file is None or self.model is None else self.answer(self.model, self.file)
        else:
            self.sent += b"HASH"
            if self.file is None:
                self.replies += b"1"
            elif data[:1] < b"\x80":
                self.sent += hashlib.sha256(self.file).hexdigest().encode()
                self.replies += b"00"
            else:
                self.sent += b"f" * 64
                self.replies += b"04"

    @staticmethod
    def answer(model: str, picture: bytes) -> bytes:
        return [b"0P", b"0N", b"3", b"5"][(len(model) + len(picture)) % 4]


KINDS = st.sampled_from(
    ["FILE", "FILE", "FILE too large", "MODE", "MODE", "PRED", "PRED", "HASH", "AUTH", "BYE", "unknown"]
)
CODES = st.sampled_from(["INCE", "ince", "VGG!", "vgg!", "ENSE", "RESN", "????"])
STEPS = st.lists(st.tuples(KINDS, CODES, st.binary(max_size=60)), max_size=12)
WAITS = st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.25])


@given(asks_for_auth=st.booleans(), steps=STEPS, data=st.data())
def test_any_order_in_any_pieces(asks_for_auth: bool, steps: list[tuple[str, str, bytes]], data: st.DataObject) -> None:
    expected = Expected(asks_for_auth)
    for kind, text, content in steps:
        expected.step(kind, text, content)
    talk = Talk(authenticated=not asks_for_auth, answer=Expected.answer)
    rest = expected.sent
    if data.draw(st.booleans(), "byte by byte"):
        talk.pieces(bytes([byte]) for byte in rest)
    else:
        while rest:
            count = data.draw(st.integers(1, len(rest)), "piece")
            talk.feed(rest[:count]).wait(data.draw(WAITS, "pause"))
            rest = rest[count:]
    assert talk.said == expected.replies
    assert bool(talk.closed) == expected.over


def test_shortened_limits_hold() -> None:
    talk = Talk(times=ProtocolTimes(silence=1, pause=0.1, file=2, file_byte=0.1))
    assert talk.feed(b"BYE").wait(0.15).closed == "bye"
    assert Talk(times=ProtocolTimes(silence=1)).wait(1.1).closed == "silent"


def test_a_hundred_thousand_random_strings() -> None:
    """None raises, none grows, and every connection ends when its time is over."""
    chance = random.Random(7)
    words = [
        b"FILE",
        b"MODE",
        b"PRED",
        b"HASH",
        b"AUTH",
        b"BYE",
        b"VGG",
        b"VGG!",
        b"INCE",
        b"5zzzzzzzzz",
        b"000000zzzz",
        b"zzzzzzzzzz",
        DIGEST,
        PICTURE,
        b"!",
    ]
    ends = set()
    for number in range(100_000):
        talk = Talk(authenticated=number % 4 != 0)
        if number % 2:
            talk.feed(chance.randbytes(chance.randint(0, 40)))
        else:
            talk.pieces(chance.choices(words, k=chance.randint(1, 8)))
        assert talk.machine.buffered <= talk.largest
        if number % 3 == 0:
            talk.end()
        else:
            talk.wait(41)
        assert talk.closed
        ends.add(talk.closed)
    assert ends == {"left", "silent", "unknown command", "bye", "refused"}
