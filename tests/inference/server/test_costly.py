"""What is costly to decode, or ends a worker, costs its sender its answer and nobody else anything: real processes."""

from __future__ import annotations

import functools
import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from tests.running import PATIENCE, TEST_MODELS, alive, picture
from tests.turning import until

from imageserver import metrics
from imageserver.errors import LimitExceeded
from imageserver.inference.server.batching import Work
from imageserver.inference.server.costly import decoder, load
from imageserver.inference.server.costly import process as processes
from imageserver.inference.server.costly.put_off import LONGEST, MOST, PutOff
from imageserver.inference.server.costly.queue import OWNERS, CostlyPicture, CostlyQueue
from imageserver.inference.server.engine import Engine
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.restart_limit import RestartLimit
from imageserver.inference.shared import wire
from imageserver.inference.shared.registry import Registry
from imageserver.limits import Limits
from imageserver.transport import hub

LIMITS = Limits(costly_bytes=2**20, decode_time=1, costly_queue=2, put_off_time=5.0, max_decoded_bytes=2**32)
FATAL = 250
FRAGILE = f"""
import os

class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        grey = [round(float(picture.mean())) for picture in batch]
        if {FATAL} in grey:
            os.kill(os.getpid(), 9)
        return [{{"label": str(value), "score": 1.0, "labels": []}} for value in grey]
"""


class Source:
    """Offers one picture and keeps what becomes of it."""

    def __init__(self, data: bytes, owner: str = "") -> None:
        self.work = Work(data, owner=owner)
        self.results: list[wire.Result] = []
        self.losses = 0
        self.wanted = True

    def take(self, model: str) -> Work | None:
        return self.work

    def answered(self, work: Work, result: wire.Result) -> None:
        self.results.append(result)

    def lost(self, work: Work, reason: str) -> None:
        self.losses += 1

    @property
    def said(self) -> str:
        result = self.results[0]
        return result["error"] if "error" in result else result["label"]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, value: int = 40, between: bytes = b"") -> bytes:
    """Grey, 8 bits."""
    rows = zlib.compress((b"\0" + bytes([value]) * width) * height)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + between + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def endless(number: int = 0) -> bytes:
    """A PNG of 100 KB and 64x64 pixels that takes 5 s to decode: of texts that libpng inflates."""
    text = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(7_900_000), 9))
    return png(64, 64, number, text * 150)


class Running:
    """An engine with one worker over a copy of test models, `fragile` among them."""

    def __init__(self, models: Path) -> None:
        self.lines: list[str] = []
        for name in ("echo", "crash"):
            shutil.copytree(TEST_MODELS / name, models / name)
        shutil.copytree(TEST_MODELS / "echo", models / "fragile")
        (models / "fragile" / "model.py").write_text(FRAGILE)
        self.engine = Engine(
            Registry(models),
            workers=1,
            jails=Jails([models], models.parent / "cache"),
            worker_arguments=["--costly-bytes", str(LIMITS.costly_bytes), "--max-decoded-bytes", str(2**32)],
            time_limit=20.0,
            max_requests=100,
            limits=LIMITS,
            log=self.lines.append,
            warn=self.lines.append,
        )

    def submit(self, data: bytes, owner: str = "", model: str = "echo") -> Source:
        source = Source(data, owner)
        self.engine.submit(source, model)
        return source

    def ask(self, data: bytes, owner: str = "", model: str = "echo") -> str:
        source = self.submit(data, owner, model)
        until(lambda: source.results)
        return source.said


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests: each has senders, and pictures that end something, of its own."""
    found = Running(tmp_path_factory.mktemp("models"))
    found.engine.start(["echo", "fragile"])
    assert found.engine.wait_ready("echo"), found.lines
    assert found.engine.wait_ready("fragile"), found.lines
    yield found
    pids = found.engine.worker_pids()
    found.engine.stop(1.0)
    assert not any(alive(pid) for pid in pids)


def test_costly_pictures_are_decoded_apart_and_answered_alike(running: Running) -> None:
    decoded = metrics.COSTLY_PICTURES.child("decoded").value
    assert running.ask(png(2000, 1000, 70)) == "70"
    assert metrics.COSTLY_PICTURES.child("decoded").value == decoded + 1
    source = running.submit(png(2000, 1000, 71))
    until(lambda: source.results)
    assert source.results[0]["size"] == [2000, 1000], "as it was, not as it was reduced"


def test_a_process_that_cannot_be_started_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines: list[str] = []
    jail = Jails([tmp_path], tmp_path).pictures()
    costly = decoder.CostlyPictures([], LIMITS, jail, decoded=mock.Mock(), warn=lines.append, clock=lambda: 0.0)
    hub.spawn(costly.run)
    process = mock.Mock(ended=False)
    process.ask.return_value = {"op": "decoded", "error": "damaged", "reason": "picture", "limit": ""}
    for start in (OSError(24, "Too many open files"),) * 3, (process,):
        monkeypatch.setattr(processes, "PictureProcess", mock.Mock(side_effect=start))
        for number in range(len(start)):
            source = Source(b"picture %d" % number)
            costly.add(CostlyPicture(source, source.work, "echo", 3, 1))
            until(lambda results=source.results: results)
    assert lines == [
        "the process for costly pictures cannot be started (Too many open files)",
        "the process for costly pictures can be started again",
    ]
    costly.stop()


def test_ordinary_pictures_go_on_while_a_costly_one_is_decoded(running: Running) -> None:
    """With one worker, and from the same sender."""
    slow = running.submit(png(4000, 4000, between=chunk(b"tEXt", b"x")), "address 10.0.1.1")
    assert running.ask(picture(8), "address 10.0.1.1") == "8"
    assert running.ask(picture(9), "address 10.0.1.2") == "9"
    until(lambda: slow.results)
    assert slow.said == "40"


def test_one_sender_has_few_costly_pictures_waiting(running: Running) -> None:
    sources = [running.submit(png(1500, 1000, number), "address 10.0.2.1") for number in range(8)]
    other = running.submit(png(1500, 1000, 99), "user anna2")
    until(lambda: all(source.results for source in [*sources, other]))
    refused = [source for source in sources if source.results[0].get("reason") == "busy"]
    assert refused
    assert "send one after the other" in refused[0].said
    assert other.said == "99"


def test_a_picture_that_takes_too_long_costs_its_sender_its_answer_and_no_model_a_worker(running: Running) -> None:
    restarts, pids = metrics.WORKER_RESTARTS.total(), running.engine.worker_pids()
    assert "too long to decode" in running.ask(endless(), "address 10.0.3.1")
    assert "tried again in" in running.ask(endless(), "address 10.0.3.2"), "the same bytes, whoever sends them"
    assert running.ask(png(1500, 1000), "address 10.0.3.1") == "40", "one may be a mistake"
    assert "too long to decode" in running.ask(endless(1), "address 10.0.3.1")
    assert "taken from you again in" in running.ask(png(1500, 1000), "address 10.0.3.1")
    assert running.ask(png(1500, 1000), "address 10.0.3.2") == "40"
    assert running.ask(picture(8), "address 10.0.3.1") == "8", "ordinary ones of the same address go on"
    assert (metrics.WORKER_RESTARTS.total(), running.engine.worker_pids()) == (restarts, pids)
    assert any("address 10.0.3.1 ended its process by signal SIGXCPU" in line for line in running.lines)


def test_a_batch_that_ended_a_worker_is_taken_apart_and_the_picture_found(running: Running) -> None:
    restarts = metrics.WORKER_RESTARTS.total()
    sources = [running.submit(picture(grey), f"address 10.1.0.{grey}", "fragile") for grey in (10, 20, FATAL, 30)]
    until(lambda: all(source.losses for source in sources))
    for source in sources:  # as streams and requests do
        running.engine.submit(source, "fragile")
    until(lambda: all(source.results for source in sources))
    assert [source.said for source in sources if source is not sources[2]] == ["10", "20", "30"]
    assert "ended while 'fragile' ran on this picture" in sources[2].said
    assert metrics.WORKER_RESTARTS.total() == restarts + 2
    assert running.engine.models["fragile"].state == "ready"
    assert "tried again in" in running.ask(picture(FATAL), "address 10.1.1.1", "fragile")
    assert running.ask(picture(11), f"address 10.1.0.{FATAL}", "fragile") == "11"
    restarts = metrics.WORKER_RESTARTS.total()
    again = running.submit(picture(FATAL, 80), f"address 10.1.0.{FATAL}", "fragile")
    innocent = running.submit(picture(12), "address 10.1.0.10", "fragile")
    until(lambda: again.results and innocent.results)
    assert "ended while 'fragile' ran on this picture" in again.said
    assert (innocent.said, innocent.losses) == ("12", 0), "what that sender has there runs alone for a while"
    assert metrics.WORKER_RESTARTS.total() == restarts + 1
    assert "takes more in" in running.ask(picture(11), f"address 10.1.0.{FATAL}", "fragile")
    assert running.ask(picture(11), f"address 10.1.0.{FATAL}") == "11", "at other models nothing is put off"


def test_who_has_much_decoded_has_it_decoded_apart_and_others_have_the_worker(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures below the limit of costly ones, again and again."""
    monkeypatch.setattr(load, "HEAVY", 2**20)
    decoded = metrics.COSTLY_PICTURES.child("decoded").value
    body = png(1024, 1024)  # just as much as a batch may decode
    assert running.ask(body, "address 10.0.5.1") == "40"
    assert running.ask(body, "address 10.0.5.1") == "40"
    assert metrics.COSTLY_PICTURES.child("decoded").value == decoded, "one is not many"
    assert running.ask(body, "address 10.0.5.1") == "40"
    assert metrics.COSTLY_PICTURES.child("decoded").value == decoded + 1
    assert running.ask(body, "address 10.0.5.2") == "40"
    assert running.ask(picture(9), "address 10.0.5.1") == "9"
    assert metrics.COSTLY_PICTURES.child("decoded").value == decoded + 1, "others, and what is small"


def test_large_requests_of_json_count_as_what_is_decoded(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "HEAVY", 2**20)
    head = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,600,1000,1],"data":['
    body = head + b",".join([b"7"] * 600_000) + b"]}]}"

    def infer(owner: str) -> wire.Result:
        return running.engine.ask("echo", body, content=f"{wire.CONTENT_INFERENCE};0", owner=owner, deadline=PATIENCE)

    assert "body" in infer("address 10.0.6.1")
    assert "send fewer a second" in infer("address 10.0.6.1")["error"]
    assert "body" in infer("address 10.0.6.2")
    assert running.ask(picture(9), "address 10.0.6.1") == "9"


def test_much_json_is_read_apart_and_answered_as_little_is(running: Running) -> None:
    def infer(data: str) -> wire.Result:
        body = f'{{"id":"7","inputs":[{{"name":"image","datatype":"UINT8","shape":[1,2,2,1],"data":{data}}}]}}'.encode()
        return running.engine.ask("echo", body, content=f"{wire.CONTENT_INFERENCE};0", deadline=PATIENCE)

    decoded = metrics.COSTLY_PICTURES.child("decoded").value
    little, much, wrong = (infer(data) for data in ("[9,9,9,9]", f"[9,9,{' ' * wire.COSTLY_JSON}9,9]", "[" * 2**22))
    assert json.loads(little["body"]) == json.loads(much["body"])
    assert json.loads(much["body"])["id"] == "7"
    assert wrong == {"error": "the body's JSON has too many lists", "reason": "body"}
    assert metrics.COSTLY_PICTURES.child("decoded").value == decoded + 1


def test_a_batch_decodes_so_much_and_the_rest_follows(running: Running) -> None:
    sources = [running.submit(png(1000, 900, number), f"address 10.2.0.{number}") for number in range(6)]
    until(lambda: all(source.results for source in sources))
    assert [source.said for source in sources] == [str(number) for number in range(6)]


def test_requests_of_one_owner_leave_room_for_others(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.engine, "_max_requests", 8)
    ask = functools.partial(running.engine.ask, "echo", png(3000, 3000), owner="address 10.0.8.1")
    asked = [hub.spawn(ask) for _ in range(4)]
    hub.sleep(0)
    with pytest.raises(LimitExceeded, match="4 requests of yours wait"):
        running.engine.ask("echo", picture(), owner="address 10.0.8.1")
    assert running.engine.ask("echo", picture(6), owner="user anna8")["label"] == "6"
    answers = [task.wait() for task in asked]
    assert [answer.get("label", "busy" if "error" in answer else "") for answer in answers].count("40") >= 2


# ---- without processes --------------------------------------------------------------------------------------------


def test_owners_take_turns() -> None:
    queue = CostlyQueue(3)

    def waiting(owner: str) -> CostlyPicture:
        return CostlyPicture(Source(b"x", owner), Work(b"x", owner=owner), "echo", 1, 0)

    assert [queue.add(waiting("a")) for _ in range(4)] == [True, True, True, False]
    assert queue.add(waiting("b"))
    gone = waiting("c")
    assert queue.add(gone)
    assert isinstance(gone.source, Source)
    gone.source.wanted = False
    popped = [queue.pop() for _ in range(5)]
    assert [found.work.owner if found else None for found in popped] == ["a", "b", "a", "a", None]
    assert len(queue) == 0
    added = [queue.add(waiting(f"owner {number}")) for number in range(3 * OWNERS + 1)]
    assert added == [True] * 3 * OWNERS + [False]
    assert len(queue.drain()) == 3 * OWNERS


def test_a_load_is_forgotten_with_time_and_bounded() -> None:
    loads = load.DecodingLoad()
    loads.charge("user anna", load.HEAVY + 1, 0.0)
    assert loads.heavy("user anna", 0.0)
    assert loads.any_heavy(0.0)
    assert not loads.heavy("user anna", 0.1)
    assert not loads.any_heavy(100.0)
    for number in range(load.MOST + 1):
        loads.charge(f"user {number}", load.HEAVY + 1, 100.0)
    assert not loads.heavy("user 0", 100.0)
    assert loads.heavy("user 1", 100.0)
    loads.charge("", 2 * load.HEAVY, 100.0)
    assert not loads.heavy("", 100.0)


def test_a_picture_is_put_off_and_who_sends_several() -> None:
    table = PutOff(30.0)
    table.blame("user anna", b"one", 0.0)
    assert (table.picture(b"one", 10.0), table.picture(b"two", 10.0)) == (20.0, 0.0)
    assert table.owner("user anna", 1.0) == 0.0
    table.blame("user anna", b"two", 10.0)
    assert table.owner("user anna", 10.0) == 30.0
    table.blame("user anna", b"three", 10.0)
    assert table.owner("user anna", 10.0) == 60.0
    assert table.owner("user bert", 10.0) == 0.0
    for _ in range(100):
        table.blame("user anna", b"four", 20.0)
    assert table.owner("user anna", 20.0) == LONGEST
    table.blame("user anna", b"five", 1000.0)
    table.prune(5000.0)
    assert not table.pictures
    assert not table.owners


def test_what_is_put_off_is_bounded() -> None:
    table = PutOff(30.0)
    for number in range(MOST + 10):
        table.blame(f"user {number}", number.to_bytes(4, "big"), 0.0)
        table.blame(f"user {number}", number.to_bytes(4, "big"), 0.0)
    assert len(table.pictures) == len(table.owners) == MOST
    assert table.owner("user 0", 0.0) == 0.0


@pytest.mark.parametrize(
    ("owners", "fault"),
    [
        (["", "", "", "", ""], True),
        (["a"] * 40, False),
        (["a", "b"] * 20, False),
        (["a", "b", "c"], False),
        (["a", "b", "c", "a", "b"], True),
    ],
)
def test_what_one_sender_does_is_not_the_models_fault(owners: list[str], fault: bool) -> None:
    limit = RestartLimit()
    said = [limit.add(float(at), owner) for at, owner in enumerate(owners)]
    assert (True in said) is fault
