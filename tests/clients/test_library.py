"""`from imageserver_client import Camera`, against a server that speaks CamStream."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.running import ROOT, until

from imageserver_client import Camera, Refused, Result, Token, Trust, Unreachable, Wrong, camera, errors
from imageserver_client.camera import State

JPEG = b"\xff\xd8\xff\xe0 a picture 7"


class StandIn:
    """tests/clients/camstream_stand_in.py as a process, and what it prints."""

    def __init__(self, port: int = 0) -> None:
        program = [sys.executable, str(Path(__file__).with_name("camstream_stand_in.py")), str(port)]
        self.process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.address = f"127.0.0.1:{self.port}"
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += (line.strip() for line in iter(self.process.stdout.readline, ""))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def server() -> Iterator[StandIn]:
    running = StandIn()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[StandIn]:
    running = StandIn()
    yield running
    running.stop()


def next_result(running: Camera) -> Result:
    """The next result, whatever else happens before."""
    while not isinstance(found := running.receive(60), Result):
        assert found is not None, "nothing happened"
    return found


def test_results_can_be_iterated(shared: StandIn) -> None:
    with Camera(shared.address, model="digits") as running:
        assert running.send(JPEG) == 1
        for result in running:
            assert result.prediction is not None and result.prediction["label"] == "7"
            assert (result.number, result.error, running.latest) == (1, None, result)
            break


def test_results_are_told(shared: StandIn) -> None:
    told = queue.Queue[Result]()
    with Camera(shared.address, ("alice", "secret"), on_result=told.put) as running:
        running.send(JPEG)
        assert told.get(timeout=60) == running.latest


def test_whoever_is_told_and_fails_ends_the_camera(shared: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to send on for nobody."""
    monkeypatch.setattr(threading, "excepthook", lambda _arguments: None)
    with Camera(shared.address, on_result=lambda result: 1 / 0) as running:

        def is_closed() -> bool:
            try:
                running.send(JPEG)
            except Wrong as error:
                return str(error).startswith("The camera is closed")
            return False

        until(is_closed, "the end")


def test_the_newest_wins_and_two_are_on_their_way(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Model "slow" answers every third frame, so after two the camera waits; of those that wait the newest is kept."""
    later = 0.0
    monkeypatch.setattr(camera, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later))
    with Camera(server.address, model="slow", timeout=300.0) as running:
        numbers = []
        for size in range(1, 7):
            numbers.append(running.send(JPEG + b"." * size))
            if size <= 2:
                until(lambda: not running.is_behind, "the frame to be sent")
        assert running.is_behind
        later = 301.0  # those without an answer count as lost
        numbers.append(running.send(JPEG + b"." * 7))
        assert next_result(running).number == 3
    assert numbers == [1, 2, 3, 3, 3, 3, 3]
    server.stop()
    sizes = [int(line.split()[2]) - len(JPEG) for line in server.lines if line.startswith("frame")]
    assert sizes == [1, 2, 7]


def test_it_sends_no_faster_than_asked(shared: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still."""
    now = 1000.0
    monkeypatch.setattr(camera, "time", SimpleNamespace(monotonic=lambda: now))
    with Camera(shared.address, hz=20, model="digits") as running:
        for number in (1, 2, 3):
            running.send(JPEG)
            assert next_result(running).number == number
            running.send(JPEG)
            assert running.receive(0.1) is None and running.is_behind
            now += 1 / 20


def test_it_connects_again_and_sends_what_waits(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "FIRST_PAUSE", 0.02)
    with Camera(server.address, model="leaver") as running:
        running.send(JPEG)
        assert next_result(running).number == 1
        running.send(JPEG)  # of which it goes away
        states = [running.receive(60)]
        assert states == [State.DISCONNECTED]
        number = running.send(JPEG)
        found = next_result(running)
        assert found.number == number == 3 and found.prediction is not None and found.prediction["seq"] == 1


def test_pauses_grow_and_are_scattered(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []
    wait_for = threading.Condition.wait_for

    def watched(self: threading.Condition, condition, timeout=None):  # type: ignore[no-untyped-def]
        if threading.current_thread().name == "camera":
            pauses.append(timeout)
            timeout = 0.0
        return wait_for(self, condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait_for", watched)
    with Camera(server.address, tries=6) as running:
        server.stop()
        with pytest.raises(Unreachable, match=r"start it, or give another address\. It did not come back within 6 tr"):
            list(running)
        with pytest.raises(Unreachable):
            running.send(JPEG)
    for pause, most in zip(pauses, (0.5, 1.0, 2.0, 4.0, 5.0, 5.0), strict=True):
        assert most / 2 <= pause <= most
    assert len({pause / most for pause, most in zip(pauses, (0.5, 1.0, 2.0, 4.0, 5.0, 5.0), strict=True)}) > 1


def test_the_end_interrupts_a_pause(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "FIRST_PAUSE", 600.0)
    monkeypatch.setattr(camera, "LONGEST_PAUSE", 600.0)
    with Camera(server.address) as running:
        server.stop()
        assert [running.receive(60), running.receive(60)] == [State.CONNECTED, State.DISCONNECTED]
    assert running.receive() is State.CLOSED
    assert list(running) == []


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"login": ("alice", "wrong")}, Refused, "does not let 'alice' in: the name or the password is wrong."),
        ({"model": "cats"}, Refused, "does not take the model 'cats': there is no model 'cats'."),
        ({"model": "cats", "hz": 5}, Refused, "does not take the model 'cats' and the hz 5: there is no model 'cats'."),
    ],
)
def test_what_the_server_does_not_take(shared: StandIn, options: dict, error: type, sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(error) as caught, Camera(shared.address, **options):
        pass
    assert str(caught.value) == f"The server {sentence}"


def test_errors_are_one_tree_and_speak_of_arguments() -> None:
    """In a process that no program's options have a say in."""
    program = (
        "from imageserver_client import Camera, ClientError, Trust, errors\n"
        "for wrong in (lambda: Trust('/nowhere.pem'), lambda: Camera('x:y')):\n"
        "    try: wrong()\n"
        "    except ClientError as error: print(error)\n"
        "print(errors.login_wanted())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "clients", capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "There is no file /nowhere.pem, which Trust(ca=…) names.",
        "'x:y' is no address: give host:port, such as 192.168.1.20:8080.",
        "The server wants a user's name and password: give login=(NAME, PASSWORD) or login=Token(TEXT).",
    ]
    tree = [each for each in vars(errors).values() if isinstance(each, type)]
    assert all(issubclass(each, errors.ClientError) for each in tree)


def test_results_that_nobody_reads_are_bounded(shared: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "MOST_KEPT", 5)
    with Camera(shared.address, model="digits") as running:
        for _ in range(12):
            number = running.send(JPEG)
            until(lambda number=number: running.latest is not None and running.latest.number == number, "its result")
        assert [next_result(running).number for _ in range(5)] == [8, 9, 10, 11, 12]


def test_a_token_and_trust_are_taken(shared: StandIn) -> None:
    with (
        pytest.raises(Unreachable, match="does not speak HTTPS"),
        Camera(shared.address, Token("abc"), trust=Trust(insecure=True)),
    ):
        pass
    with Camera(shared.address, Token("abc"), name="front door") as running:
        running.send(JPEG)
        assert next_result(running).prediction is not None


def test_it_can_be_closed_twice_and_at_once(shared: StandIn) -> None:
    running = Camera(shared.address)
    running.close()
    with Camera(shared.address) as running:
        running.close()
    running.close()
    assert not [thread for thread in threading.enumerate() if thread.name in ("camera", "results")]
    with pytest.raises(Wrong):
        running.send(JPEG)
