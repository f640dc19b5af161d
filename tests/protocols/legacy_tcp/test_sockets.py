"""The protocol over real sockets: the port and its clients share the test's own loop; models are stand-ins."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.protocols.legacy_tcp.talking import file, padded
from tests.turning import until

from imageserver import metrics
from imageserver.errors import LimitExceeded, ModelUnavailable, NotAllowed, Stopping, UnknownModel
from imageserver.limits import Limits
from imageserver.protocols.legacy_tcp.intake import ProtocolTimes
from imageserver.protocols.legacy_tcp.protocol import OF_ONE_OWNER, LegacyTcp, UnlikeLog
from imageserver.transport import hub
from imageserver.transport.budget import Account

PATIENCE = 60.0


def model(code: str | None, state: str = "ready", members: tuple[str, ...] = ()) -> SimpleNamespace:
    manifest = SimpleNamespace(tcp_code=code, members=members)
    return SimpleNamespace(manifest=manifest, state=state, unusable=state != "ready")


class Streams:
    """Answers by the first byte of the picture: P and N by their letters; `answers` say what it does instead."""

    max_frame_bytes = 2**24

    def __init__(self) -> None:
        self.models: dict[str, Any] = {
            "inception": model("INCE"),
            "vgg": model("VGG!"),
            "broken": model("MYCN", "failed"),
            "faces": model(None),
        }
        self.answers: list[Callable[[], Mapping[str, Any]]] = []
        self.asked: list[tuple[str, bytes]] = []
        self.prepared: list[str] = []
        self.running = 0

    @property
    def engine(self) -> Streams:
        return self

    def prepare(self, name: str) -> None:
        if self.models[name].state == "disabled":
            raise ModelUnavailable("it is disabled")
        self.prepared.append(name)

    def ask(
        self, name: str, data: memoryview, *, protocol: str, account: Account, deadline: float
    ) -> Mapping[str, Any]:
        assert protocol == "legacy_tcp"
        assert account.owner == "address 127.0.0.1"
        assert 0 <= deadline <= 15
        self.asked.append((name, bytes(data[:64])))
        if self.answers:
            return self.answers.pop(0)()
        hub.sleep(0)
        if bytes(data[:1]) not in (b"P", b"N"):
            return {"error": "this is no picture", "reason": "picture"}
        return {"label": "pneumonia" if data[:1] == b"P" else "normal", "score": 1.0, "labels": []}


class Running:
    """A port with its clients."""

    def __init__(self, times: ProtocolTimes | None = None, keys: Any = None, **limits: int) -> None:
        self.streams = Streams()
        self.lines: list[str] = []
        listener = hub.listen("127.0.0.1", 0)
        self.port = LegacyTcp(self.streams, listener, Limits(**limits), times=times, keys=keys, log=self.lines.append)
        self.task = hub.spawn(self.port.serve)
        self.gauge = metrics.CONNECTIONS.child("legacy_tcp")

    def connect(self, piece: int = 0) -> OldClient:
        return OldClient(hub.green(socket.create_connection(self.port.address)), piece)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.port.stop(0.2)
        self.task.wait()
        until(lambda: self.gauge.value == 0)
        assert self.port.buffered == 0


@pytest.fixture
def running() -> Iterator[Running]:
    with Running() as found:
        yield found


def count_of(metric: metrics.Metric, *labels: str) -> float:
    return metric.child(*labels).value


def test_the_log_has_what_the_letter_cannot_say(running: Running) -> None:
    unlike = {"label": "pneumonia", "score": 0.9, "labels": [], "input": "unlike"}
    with running.connect() as client:
        assert client.command(b"MODE", b"INCE") == b"00"
        assert client.file(b"coffee") == b"00"
        for _ in range(3):
            running.streams.answers.append(lambda: unlike)
            assert client.predict() == b"0P"
    [line] = [line for line in running.lines if "unlike" in line]
    assert line == "legacy TCP: address 127.0.0.1 got P from inception for a picture unlike its training pictures"


def test_however_many_ask_the_log_has_a_line_a_minute() -> None:
    lines: list[str] = []
    now = [0.0]
    log = UnlikeLog(lines.append, lambda: now[0])
    for seconds in (0.0, 1.0, 59.0, 61.0, 130.0):
        now[0] = seconds
        log.tell("address 10.0.0.7", "vgg", b"0N")
    assert lines == [
        "legacy TCP: address 10.0.0.7 got N from vgg for a picture unlike its training pictures" + more
        for more in ("", ", as did 2 more in the minutes before", "")
    ]


@pytest.mark.parametrize("piece", [0, 1, 3, 1000])
def test_a_whole_conversation(running: Running, piece: int) -> None:
    picture = b"P" + random.Random(piece).randbytes(5_000 if piece == 1 else 200_000)
    with running.connect(piece) as client:
        assert client.command(b"PRED") == b"1"
        assert client.file(picture) == b"00"
        assert client.command(b"PRED") == b"1"
        assert client.command(b"MODE", b"ince") == b"00"
        assert client.predict() == b"0P"
        assert client.hash(picture) == b"00"
        assert client.hash(picture + b"x") == b"04"
        assert client.command(b"FILE", b"17000000zz") == b"02"
        assert client.command(b"FILE", b"??????????") == b"02"
        assert client.command(b"MODE", b"RESN") == b"03"
        assert client.command(b"MODE", b"MYCN") == b"03"
        assert client.predict() == b"0P"
        assert client.command(b"MODE", b"VGG!") == b"00"
        assert client.file(b"N") == b"00"
        assert client.predict() == b"0N"
        assert client.file(b"GIF89a") == b"00"
        assert client.predict() == b"5"
        assert client.bye() == b"0"
    assert running.streams.asked == [("inception", picture[:64])] * 2 + [("vgg", b"N"), ("vgg", b"GIF89a")]


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_pieces_give_the_same_replies(running: Running, data: st.DataObject) -> None:
    picture = b"N" + data.draw(st.binary(max_size=3000))
    rest = b"MODEVGG!" + file(picture) + b"PRED" + b"FILE" + b"zz20000000" + b"MODE????" + b"PREDBYE!"
    with running.connect() as client:
        while rest:
            count = data.draw(st.integers(1, len(rest)))
            client.send(rest[:count])
            rest = rest[count:]
            if data.draw(st.booleans()):
                hub.sleep(0)
        assert client.rest() == b"00000N02030N0"


def test_half_closed_clients_get_every_reply(running: Running) -> None:
    for last, reply in [(b"PRED", b"0P"), (b"PREDBYE", b"0P0"), (b"MODEVGG", b"00"), (b"PREDFI", b"0P")]:
        with running.connect() as client:
            client.send(b"MODEINCE" + file(b"P" * 100_000) + last)
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b"0000" + reply


def test_pauses_end_bye_and_vgg() -> None:
    with Running(ProtocolTimes(pause=0.05)) as running, running.connect() as client:
        assert client.command(b"MODE", b"VGG") == b"00"
        client.send(b"!")
        assert client.command(b"MODE", b"INCE") == b"00"
        client.send(b"BYE")
        assert client.rest() == b"0"


def test_the_last_reply_survives_bytes_that_nobody_reads(running: Running) -> None:
    with running.connect() as client:
        client.send(b"MODEINCEBYE!" + b"x" * 100_000)
        assert client.rest() == b"000"


def test_an_unknown_command_closes_after_what_was_owed(running: Running) -> None:
    before = count_of(metrics.TCP_CLOSED, "unknown command")
    with running.connect() as client:
        client.send(b"PREDMODEINCEQUIT")
        assert client.rest() == b"100"
    until(lambda: count_of(metrics.TCP_CLOSED, "unknown command") == before + 1)


# ---- models that cannot answer ------------------------------------------------------------------------------------


def failing(error: Exception) -> Callable[[], Mapping[str, Any]]:
    def fail() -> Mapping[str, Any]:
        raise error

    return fail


@pytest.mark.parametrize(
    "answer",
    [
        failing(ModelUnavailable("it did not answer within 15 s")),
        failing(UnknownModel("there is none any more")),
        failing(Stopping("the server is stopping")),
        lambda: {"error": "the model answered with something that is no number", "reason": "model"},
        lambda: {"label": "cat", "score": 1.0},
        dict,
    ],
)
def test_a_model_that_cannot_answer_gets_3_and_the_connection_goes_on(
    running: Running, answer: Callable[[], Any]
) -> None:
    running.streams.answers = [answer]
    with running.connect() as client:
        assert client.file(b"P") + client.command(b"MODE", b"INCE") == b"0000"
        assert client.predict() == b"3"
        assert client.predict() == b"0P"


def test_where_the_engine_has_no_room_it_is_asked_again(running: Running) -> None:
    running.streams.answers = [failing(LimitExceeded("256 requests wait already"))] * 2
    with running.connect() as client:
        assert client.file(b"P") + client.command(b"MODE", b"INCE") == b"0000"
        assert client.predict() == b"0P"
    assert len(running.streams.asked) == 3


def test_where_it_never_has_room_the_reply_is_3_in_time() -> None:
    with Running(ProtocolTimes(answer=0.6)) as running, running.connect() as client:
        running.streams.answers = [failing(LimitExceeded("256 requests wait already"))] * 1000
        assert client.file(b"P") + client.command(b"MODE", b"INCE") == b"0000"
        assert client.predict() == b"3"
        assert len(running.streams.asked) <= 4


def test_one_model_that_hangs_takes_no_turns_of_another_and_one_host_few() -> None:
    release = hub.Event()

    def hang() -> Mapping[str, Any]:
        release.wait(PATIENCE)
        return {"label": "normal"}

    with Running(tcp_max_per_host=0) as running:
        clients = [running.connect() for _ in range(60)]
        running.streams.answers = [hang] * 60
        for client in clients:
            assert client.read(1) == b"?"
            client.send(file(b"P") + b"MODEVGG!" + b"PRED")
            assert client.read(4) == b"0000"
        until(lambda: len(running.streams.asked) == OF_ONE_OWNER)
        hanging, running.streams.answers = running.streams.answers, []
        with running.connect() as other:
            assert other.file(b"P") + other.command(b"MODE", b"INCE") + other.predict() == b"00000P"
        running.streams.answers = hanging
        release.set()
        for client in clients:
            assert client.read(2) == b"0N"
            client.sock.close()


def test_a_model_that_is_disabled_or_gone_is_none(running: Running) -> None:
    running.streams.models["inception"] = model("INCE", "disabled")
    del running.streams.models["vgg"]
    with running.connect() as client:
        assert client.command(b"MODE", b"INCE", b"MODE", b"VGG!", b"MODE", b"NONE") == b"030303"


def test_ensembles_with_a_code_are_loaded_before_anybody_asks(running: Running) -> None:
    running.streams.models = {
        "disabled": model("BOTH", "disabled", ("inception", "vgg")),
        "ensemble": model("ENSE", "absent", ("inception", "vgg")),
        "of others": model(None, "absent", ("inception", "vgg")),
        "inception": model("INCE", "absent"),
    }
    running.port.load_ensembles()
    assert running.streams.prepared == ["ensemble"]
    running.streams.models = {}
    running.port.load_ensembles()


# ---- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [b"", b"MO", b"MODE", b"FILE" + padded(50_000), b"FILE" + padded(50_000) + b"x" * 49_999]
)
def test_silent_clients_are_closed_and_counted(sent: bytes) -> None:
    before = count_of(metrics.TCP_CLOSED, "silent")
    with Running(ProtocolTimes(silence=0.1)) as running, running.connect() as client:
        client.send(sent)
        assert client.rest() == {0: b"", 2: b"", 4: b"0"}.get(len(sent), b"00")
    assert count_of(metrics.TCP_CLOSED, "silent") == before + 1


def test_a_file_that_takes_too_long_is_closed_though_it_never_pauses() -> None:
    before = count_of(metrics.TCP_CLOSED, "slow")
    with Running(ProtocolTimes(silence=5, file=0.2, file_byte=1e-9)) as running, running.connect() as client:
        client.send(b"FILE" + padded(50_000))
        drip = hub.spawn(dripping, client)
        assert client.rest() == b"00"
        drip.kill()
    assert count_of(metrics.TCP_CLOSED, "slow") == before + 1


def dripping(client: OldClient) -> None:
    try:
        while True:
            client.sock.sendall(b"x")
            hub.sleep(0.02)
    except OSError:
        pass  # closed, as it should be


def test_a_client_that_reads_no_replies_is_closed() -> None:
    before = count_of(metrics.TCP_CLOSED, "deaf")
    times = ProtocolTimes(silence=0.3)
    with Running(times) as running:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(running.port.address)
        flood = hub.spawn(flooding, hub.green(sock), b"PRED" * 50_000)
        until(lambda: count_of(metrics.TCP_CLOSED, "deaf") == before + 1)
        flood.kill()
        sock.close()


def flooding(sock: Any, data: bytes) -> None:
    try:
        while True:
            sock.sendall(data)
    except OSError:
        pass  # closed, as it should be


def test_a_flood_leaves_others_their_turns(running: Running) -> None:
    with running.connect() as flooder, running.connect() as client:
        flood = hub.spawn(flooding, flooder.sock, b"PRED" * 10_000)
        reader = hub.spawn(flooder.rest)
        for _ in range(20):
            assert client.command(b"MODE", b"INCE") == b"00"
        reader.kill()
        flood.kill()


def test_clients_that_vanish_leave_nothing_behind(running: Running) -> None:
    for sent in (b"", b"FI", b"FILE" + padded(100_000) + b"x" * 60_000, file(b"P") + b"MODEINCE" + b"PRED" * 3):
        client = running.connect()
        client.send(sent)
        hub.sleep(0.01)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        client.sock.close()
    until(lambda: running.gauge.value == 0)
    assert running.port.buffered == 0


# ---- limits -------------------------------------------------------------------------------------------------------


def test_connections_of_one_host_are_limited() -> None:
    before = count_of(metrics.LIMITS_HIT, "tcp-max-per-host")
    with Running(tcp_max_per_host=2) as running:
        with running.connect() as first, running.connect():
            assert running.connect().rest() == b""
            assert first.bye() == b"0"
        until(lambda: running.gauge.value == 0)
        with running.connect() as again:
            assert again.bye() == b"0"
        assert running.lines == [
            "2 legacy TCP connections of this host are open; one more, of 127.0.0.1, was refused (--tcp-max-per-host)"
        ]
    assert count_of(metrics.LIMITS_HIT, "tcp-max-per-host") == before + 1


def test_connections_in_total_are_limited() -> None:
    before = count_of(metrics.LIMITS_HIT, "tcp-max-connections")
    with Running(tcp_max_connections=1) as running, running.connect() as first:
        assert [running.connect().rest() for _ in range(2)] == [b"", b""]
        assert first.bye() == b"0"
        assert running.lines == [
            "1 legacy TCP connections are open; one more, of 127.0.0.1, was refused (--tcp-max-connections)"
        ]
    assert count_of(metrics.LIMITS_HIT, "tcp-max-connections") == before + 2


def test_files_are_limited_by_both_settings(running: Running) -> None:
    running.streams.max_frame_bytes = 1000
    with running.connect() as client:
        assert client.command(b"FILE", padded(1001)) == b"02"
        assert client.command(b"FILE", padded(1000)) == b"00"


def test_files_of_all_connections_together_are_limited() -> None:
    before = count_of(metrics.LIMITS_HIT, "tcp-max-total-bytes")
    with (
        Running(tcp_max_total_bytes=100_000) as running,
        running.connect() as first,
        running.connect() as second,
    ):
        assert first.file(b"P" * 60_000) + first.command(b"PRED") == b"001"
        assert running.port.buffered == 60_000
        assert second.command(b"FILE", padded(60_000)) == b"02"
        assert second.file(b"P" * 30_000) + second.command(b"PRED") == b"001"
        assert running.port.buffered == 90_000
        assert first.file(b"P" * 10) + first.command(b"PRED") == b"001"
        assert running.port.buffered == 30_010
        assert count_of(metrics.TCP_BUFFERED) == 30_010
    assert count_of(metrics.LIMITS_HIT, "tcp-max-total-bytes") == before + 1


def test_files_that_grow_beyond_it_together_cost_the_last_its_connection() -> None:
    with (
        Running(tcp_max_total_bytes=100_000) as running,
        running.connect() as first,
        running.connect() as second,
    ):
        assert first.command(b"FILE", padded(60_000)) + second.command(b"FILE", padded(60_000)) == b"0000"
        first.send(b"P" * 60_000)
        assert first.command(b"PRED") == b"1"
        second.send(b"P" * 60_000)
        assert second.rest() == b""
        assert first.command(b"MODE", b"INCE") == b"00"


# ---- AUTH ---------------------------------------------------------------------------------------------------------


class Keys:
    """Takes the nonce itself, backwards, as its signature."""

    def check(self, nonce: bytes, signature: bytes) -> None:
        if signature != nonce[::-1]:
            raise NotAllowed("the signature's key is not listed in the authorized_keys file")


def test_auth() -> None:
    with Running(keys=Keys()) as running:
        with running.connect() as client:
            assert client.command(b"MODE") == b"6"
            assert client.command(b"AUTH") == b"0"
            nonce = client.read(32)
            assert client.command(padded(32) + nonce[::-1]) == b"0"
            assert client.command(b"MODE", b"INCE") == b"00"
            assert client.command(b"AUTH") == b"0"
            again = client.read(32)
            assert again != nonce
            client.send(padded(32) + nonce[::-1])
            assert client.rest() == b"6"
        with running.connect() as client:
            client.send(b"BYE!")
            assert client.rest() == b"6"
    assert running.lines == [
        "legacy TCP: 127.0.0.1 is refused: the signature's key is not listed in the authorized_keys file"
    ]


def test_who_signs_wrongly_too_often_pauses_even_if_the_next_one_is_right() -> None:
    def answer(client: Any, *, right: bool) -> bytes:
        assert client.command(b"AUTH") == b"0"
        nonce = client.read(32)
        client.send(padded(32) + nonce[:: -1 if right else 1])
        return bytes(client.read(1))

    with Running(keys=Keys(), login_attempts=2) as running:
        for _ in range(2):
            with running.connect() as client:
                assert answer(client, right=False) == b"6"
        with running.connect() as client:
            assert answer(client, right=True) == b"6"
    assert len([line for line in running.lines if "is refused" in line]) == 2
    assert len([line for line in running.lines if "has to pause" in line and "127.0.0.1" in line]) == 1


def test_auth_where_no_keys_are_known_is_refused(running: Running) -> None:
    with running.connect() as client:
        assert client.command(b"AUTH") == b"0"
        client.read(32)
        client.send(padded(4) + b"sign")
        assert client.rest() == b"6"


# ---- the end ------------------------------------------------------------------------------------------------------


def test_stop_lets_running_models_answer_and_cuts_the_rest_off() -> None:
    running = Running()
    address = running.port.address
    release = hub.Event()

    def slow() -> Mapping[str, Any]:
        release.wait(PATIENCE)
        return {"label": "pneumonia"}

    with running.connect() as idle, running.connect() as busy:
        running.streams.answers = [slow]
        busy.send(file(b"P") + b"MODEINCEPRED")
        assert busy.read(4) == b"0000"
        until(lambda: running.streams.asked)
        stopping = hub.spawn(running.port.stop, PATIENCE)
        assert idle.rest() == b""
        release.set()
        assert busy.read(2) == b"0P"
        busy.sock.close()
        stopping.wait()
    running.task.wait()
    assert running.gauge.value == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


# ---- anything -----------------------------------------------------------------------------------------------------


def test_random_bytes_leave_it_serving() -> None:
    chance = random.Random(11)
    words = [
        b"FILE",
        b"MODE",
        b"PRED",
        b"HASH",
        b"AUTH",
        b"BYE",
        b"VGG",
        b"INCE",
        b"5zzzzzzzzz",
        b"99999zzzzz",
        b"\0",
        b"P" * 50,
    ]
    with Running(ProtocolTimes(silence=0.05, pause=0.02), tcp_max_per_host=0) as running:
        for number in range(400):
            with running.connect() as client:
                data = (
                    chance.randbytes(chance.randint(0, 60))
                    if number % 2
                    else b"".join(chance.choices(words, k=chance.randint(1, 9)))
                )
                try:
                    client.send(data)
                    if number % 3:
                        client.sock.shutdown(socket.SHUT_WR)
                    if number % 5:
                        client.rest()
                except ConnectionError:
                    pass  # the server was quicker
        until(lambda: running.gauge.value == 0)
        with running.connect() as client:
            assert client.file(b"N") + client.command(b"MODE", b"INCE") + client.predict() == b"00000N"


def test_files_of_one_address_have_a_share_of_the_memory() -> None:
    with Running(memory_share=300_000, memory_budget=1_000_000) as running:
        with running.connect() as first, running.connect() as second:
            assert first.file(b"P" * 200_000) == b"00"
            until(lambda: running.port.budget.used == 200_000)
            assert second.command(b"FILE", b"150000zzzz") == b"02"
            assert second.file(b"P" * 90_000) == b"00"
            until(lambda: running.port.budget.used == 290_000)
            assert first.bye() == second.bye() == b"0"
        until(lambda: running.port.budget.used == 0)
