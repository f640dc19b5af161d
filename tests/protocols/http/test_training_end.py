"""How a training ends, step by step: its process is played, so that what is said in between can be seen."""

import contextlib
import functools
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from tests.running import PATIENCE

from imageserver import files
from imageserver.errors import TrainingError
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.training import run
from imageserver.inference.server.training.records import TrainingRecord, TrainingRecords
from imageserver.inference.server.training.trainings import Trainings
from imageserver.transport import hub


def trainings_in(folder, manifest, log, ended=print):
    jails = Jails([], folder / "cache")
    return Trainings(folder / "data", lambda _name: manifest, {"mnist": []}, [], jails, log=log, ended=ended)


@pytest.fixture
def played(tmp_path, monkeypatch):
    """The trainings of a server whose jobs find their data at once; `job` is the last one begun, `log` what it said."""
    found = SimpleNamespace(job=None, log=[], heard=[], ended=[])

    class Job:
        pid = 1

        def __init__(self, _name, _module, arguments, on_message, on_exit, jail):
            found.job, self.tell, self._on_exit = self, on_message, on_exit
            self.version = Path(arguments[arguments.index("--version") + 1])
            on_message({"op": "prepared", "text": "the data was found"})

        def end(self, text):
            self.exit_text = text
            self._on_exit()

        def done(self, accuracy, former):
            self.version.mkdir(parents=True)
            self.tell({"op": "evaluating"})
            self.tell({"op": "done", "accuracy": accuracy, "former": former})

    (tmp_path / "data").mkdir()
    monkeypatch.setattr(run, "ChildProcess", Job)
    manifest = SimpleNamespace(folder=tmp_path / "shipped")
    found.trainings = trainings_in(tmp_path, manifest, found.log.append, found.ended.append)
    found.link = tmp_path / "data" / "models" / "lenet"
    found.record = lambda: json.loads((tmp_path / "data" / "training" / "lenet.json").read_text())
    found.state = lambda: next(found.trainings.follow("lenet", 1))["state"]
    return found


@pytest.mark.parametrize(("accuracy", "state"), [(0.995, "completed"), (0.5, "kept aside")])
def test_the_end_is_told_once_no_training_counts_as_running(played, accuracy, state):
    """Who hears of it and asks for the status at once must get one, no 406."""
    played.trainings.start("lenet", "mnist")
    followed = played.trainings.follow("lenet", 1)
    next(followed)
    played.job.done(accuracy, 0.99)
    assert played.state() == "evaluating"
    assert played.trainings.running("lenet")
    # What serves and what the file says agree even if the server ends before the job does.
    assert played.record()["running_since"] == ""
    assert played.record()["accuracy"] == ("99.50" if state == "completed" else "")
    assert played.link.is_symlink() == (state == "completed")
    played.job.end("exit code 0")
    assert next(followed)["state"] == played.state() == state
    assert not played.trainings.running("lenet")


def test_pages_are_told_how_it_stands_and_of_its_end(played, monkeypatch):
    told = []
    monkeypatch.setattr(run.news, "tell", lambda *said: told.append(said))
    assert played.trainings.latest() == []
    played.trainings.start("lenet", "mnist")
    ((name, running, event),) = played.trainings.latest()
    assert (name, running, event["state"]) == ("lenet", True, "preparing")
    played.job.end("exit code 1")
    ((name, running, event),) = played.trainings.latest()
    assert (name, running, event["state"]) == ("lenet", False, "failed")
    assert told == [("training ended", "the training of lenet: failed")]


def test_one_whose_process_cannot_be_started_leaves_nothing(played, monkeypatch):
    """Its empty folder would count as the newest version, for which the one kept aside gives way."""
    monkeypatch.setattr(run, "ChildProcess", mock.Mock(side_effect=OSError(11, "Resource temporarily unavailable")))
    with pytest.raises(TrainingError, match="no process can be started"):
        played.trainings.start("lenet", "mnist")
    assert not list((played.link.parent / ".versions" / "lenet").iterdir())
    assert not played.trainings.record("lenet").running_since


def test_a_server_killed_between_the_swap_and_the_record_does_not_deny_the_new_model(played, tmp_path, monkeypatch):
    """The new model serves, so what is told of it are its own figures, which lie beside its weights."""
    played.trainings.start("lenet", "mnist")
    monkeypatch.setattr(TrainingRecords, "write", lambda *_anything: None)  # as if killed before it
    served = {"accuracy": "99.60", "datetime": "2199-01-01 00:00:00"}
    played.job.done(0.996, 0.99)
    (played.job.version / "training.json").write_text(json.dumps(served))
    assert played.record()["running_since"] and played.link.is_symlink()
    again = trainings_in(tmp_path, SimpleNamespace(folder=played.link), played.log.append)
    assert again.record("lenet") == TrainingRecord(**served)
    before = trainings_in(tmp_path, SimpleNamespace(folder=tmp_path / "shipped"), played.log.append)
    assert "ended with the server; the model from before serves" in before.record("lenet").note


def test_a_model_that_cannot_take_its_place_is_said_and_kept(played):
    played.trainings.start("lenet", "mnist")
    played.link.mkdir(parents=True)
    played.job.done(0.995, 0.99)
    played.job.end("exit code 0")
    assert played.state() == "failed"
    note = played.trainings.record("lenet").note
    assert "could not take the place of the old one (Is a directory)" in note
    assert "/" not in note
    assert played.record()["note"] == note
    assert any(str(played.link) in line and str(played.job.version) in line for line in played.log)
    assert played.job.version.exists()


def test_a_model_put_there_by_hand_is_not_replaced(played):
    played.link.mkdir(parents=True)
    with pytest.raises(TrainingError, match="by hand"):
        played.trainings.start("lenet", "mnist")
    assert played.job is None
    assert not played.trainings.running("lenet")


def test_one_that_says_what_nobody_understands_ends_and_its_end_is_told(tmp_path, monkeypatch):
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\n"
        "import socket, struct, sys, time\n"
        "control = socket.socket(fileno=int(sys.argv[sys.argv.index('--control') + 1]))\n"
        """for body in (b'{"op": "prepared", "text": "found"}', b"half a line"):\n"""
        "    control.sendall(struct.pack('<I', len(body)) + body)\n"
        "time.sleep(600)\n"
    )
    program.chmod(0o755)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(run, "ChildProcess", functools.partial(ChildProcess, python=str(program)))
    manifest = SimpleNamespace(folder=tmp_path / "shipped")
    trainings = trainings_in(tmp_path, manifest, lambda _line: None)
    with contextlib.suppress(TrainingError):  # it may have ended before whoever starts it is told that it began
        trainings.start("lenet", "mnist")
    last = [event for event in trainings.follow("lenet", 60) if event][-1]
    assert last["state"] == "failed"
    assert "ended by signal SIGKILL after a message that cannot be understood" in last["text"]
    assert not trainings.running("lenet")


def test_a_cancelled_training_is_told_as_such(played):
    played.trainings.start("lenet", "mnist")
    played.job.send = played.heard.append
    played.job.kill = lambda: None
    assert played.trainings.cancel("lenet")
    assert played.heard == [{"op": "cancel"}]
    played.job.tell({"op": "failed", "error": "the training was cancelled"})
    played.job.end("exit code 1")
    assert played.state() == "cancelled"
    assert not played.job.version.parent.exists(), "trainings that come to nothing do not fill the disk"
    assert played.record()["running_since"] == ""
    assert not played.trainings.cancel("lenet")


def test_of_two_that_look_for_the_data_folder_at_the_same_time_one_trains(played):
    refused = []

    def start():
        try:
            played.trainings.start("lenet", "mnist")
        except TrainingError as error:
            refused.append(str(error))

    tasks = [hub.spawn(start) for _ in range(2)]
    for task in tasks:
        task.wait()
    assert refused == ["a training is about to begin; one training at a time"]


@pytest.mark.parametrize("slow", [(files, "check_there"), (run.versions, "make")])
def test_the_stop_begins_no_training_that_was_about_to(played, tmp_path, monkeypatch, slow):
    entered, go, real = threading.Event(), threading.Event(), getattr(*slow)
    refused = []

    def wait(*arguments):
        entered.set()
        go.wait(PATIENCE)
        return real(*arguments)

    def start():
        with pytest.raises(TrainingError) as error:
            played.trainings.start("lenet", "mnist")
        refused.append(str(error.value))

    monkeypatch.setattr(*slow, wait)
    tasks = [hub.spawn(start)]
    assert hub.in_thread(entered.wait, PATIENCE)
    tasks.append(hub.spawn(played.trainings.stop))
    hub.sleep(0)
    go.set()
    for task in tasks:
        task.wait()
    assert refused == ["the server is stopping"] and played.job is None
    assert not list((tmp_path / "data").glob("models/.versions/lenet/*"))


def test_what_came_of_it_is_told_whoever_asked(played):
    """The audit notes it."""
    played.trainings.start("lenet", "mnist")
    played.job.end("exit code 7")
    (sentence,) = played.ended
    assert sentence.startswith("lenet, failed: the training begun at ")
    assert "exit code 7" in sentence
