"""`imageserver check`: a table of wrong inputs, each with the one sentence that names value and remedy."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.certificates import made

from imageserver import folders
from imageserver.accounts.database import UserDB
from imageserver.app import data_lock
from imageserver.app.checks import everything
from imageserver.commands import check as command
from imageserver.transport import hub

MODEL = '{keys}kind = "classification"\n[input]\nwidth = 8\nheight = 8\n[runtime]\n{runtime}\n'


class Place:
    """A folder with a good model, from which the command is run, and what is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model("eye", 'weights = "eye.keras"', weights=True)

    def model(self, name: str, runtime: str, keys: str = "", *, weights: bool = False) -> None:
        folder = self.folder / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.toml").write_text(MODEL.format(keys=keys, runtime=runtime))
        if weights:
            (folder / "eye.keras").touch()

    def write(self, name: str, text: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("IMAGESERVER_")]:
        monkeypatch.delenv(name)
    return Place(tmp_path)


Checked = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checked:
    """Runs the command in this process: exit code and lines. It may change nothing."""
    monkeypatch.setenv("IMAGESERVER_MODELS", "models")

    def run(*arguments: str) -> tuple[int, list[str]]:
        base = ["--data=data", "-m=eye", "-p=0", "--tcp-port=off"]
        monkeypatch.setattr(sys, "argv", ["imageserver check", *base, *arguments])
        before = contents(place.folder)
        code = command.main()
        assert contents(place.folder) == before
        out, err = capsys.readouterr()
        assert err == ""
        return code, out.splitlines()

    return run


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_all_is_well(check: Checked) -> None:
    code, lines = check()
    assert code == 0
    assert lines == [f"ImageServer {command.__version__}: no fault, 1 model, port 0"]


def nothing(_place: Place) -> None:
    """All is as it should be."""


def users_of_a_newer_server(place: Place) -> None:
    (place.folder / "data").mkdir()
    connection = sqlite3.connect(place.folder / "data" / "users.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()


def expired(place: Place) -> None:
    made(begins=-9, ends=-2).write(place.folder / "cert.pem", place.folder / "key.pem")


def of_another_key(place: Place) -> None:
    made().write(place.folder / "cert.pem", place.folder / "other.pem")
    made().write(place.folder / "other.pem", place.folder / "key.pem")


def writes(name: str, text: str | bytes) -> Callable[[Place], None]:
    return lambda place: place.write(name, text)


WRONG: list[tuple[Callable[[Place], None], str, str]] = [
    (nothing, "--prot 9000", "There is no option --prot; did you mean --port? (--help-all lists them all)."),
    (nothing, "-p 99999", "-p is '99999', but it takes a whole number from 0 to 65,535."),
    (nothing, "chekc", "There is no command 'chekc'; did you mean check?; where an address is meant, write -i chekc."),
    (
        nothing,
        "--cluster head:1",
        "--cluster is 'head:1', but it takes ray:// with a host, and a port such as 10001, …",
    ),
    (nothing, "--cluster auto", "--cluster needs Ray, which is not installed here: install the extra ray (…"),
    (nothing, "--cluster-cache 1G", "Unused: --cluster-cache has no effect without --cluster."),
    (nothing, "--max-frame-bytes 1T", "--max-frame-bytes is '1T', but it takes a size from 1K to 32M, such as …"),
    (nothing, "--config none.toml", "There is no file HERE/none.toml, which --config names."),
    (writes("a.toml", "prot = 1"), "--config a.toml", "The key prot of HERE/a.toml is no setting; did you mean port?…"),
    (writes("a.toml", "port = "), "--config a.toml", "HERE/a.toml cannot be read: Invalid value (at end of document)."),
    (
        writes(".env", "IMAGESERVER_PRT=1"),
        "",
        "There is no setting for the variable IMAGESERVER_PRT in HERE/.env; did you mean IMAGESERVER_PORT?; …",
    ),
    (writes(".env", "IMAGESERVER_HZ=fast"), "", "IMAGESERVER_HZ in HERE/.env is 'fast', but it takes a number from …"),
    (
        writes(".env", "PORT=1"),
        "",
        "Unused: HERE/.env: PORT is no setting of the server, whose variables begin with IMAGESERVER_; did you mean …",
    ),
    (nothing, "-m nix", "--model and --preload: there is no model 'nix'; there are: eye"),
    (nothing, "--session-models eye", "--session-models: the model 'eye' keeps no state from frame to frame; …"),
    (nothing, "--models nowhere", "there is no models folder 'HERE/nowhere': give an existing one with --models"),
    (
        lambda place: place.model("wrong", 'weihgts = "a"'),
        "",
        "HERE/models/wrong/model.toml: runtime.weihgts: unknown key; did you mean 'weights'?",
    ),
    (
        lambda place: place.model("heavy", 'weights = "heavy.keras"'),
        "",
        "The model 'heavy' lacks its weights: put 'heavy.keras' into HERE/models/heavy.",
    ),
    (
        nothing,
        "-a",
        "--auth: nobody can log in, as there is no user in HERE/data/users.db: add one with  "
        f"{folders.USERS_COMMAND} add NAME --users HERE/data/users.db",
    ),
    (writes("data/users.db", "no database at all"), "-a", "the user database HERE/data/users.db cannot be used (…"),
    (writes("data/users.db", ""), "", "the user database HERE/data/users.db is empty (0 bytes): put back a copy, or …"),
    (users_of_a_newer_server, "", "the user database HERE/data/users.db is of version 9, and this server …"),
    (nothing, "-s --https-port 0", "-s makes the HTTP port speak HTTPS, and --https-port adds a second one: …"),
    (nothing, "--cert cert.pem", "--cert and --key are for HTTPS: add -s, or --https-port N for HTTPS beside HTTP."),
    (nothing, "-s --cert cert.pem", "there is no certificate HERE/cert.pem or no key …: name existing files with …"),
    (expired, "-s --cert cert.pem --key key.pem", "HERE/cert.pem expired on …: put a certificate there …"),
    (of_another_key, "-s --cert cert.pem --key key.pem", "HERE/cert.pem and HERE/key.pem cannot be used: the key …"),
    (nothing, "-i 203.0.113.7", "203.0.113.7:0 …"),
    (nothing, "--results gone/file", "--results HERE/gone/file: No such file or directory; give a file that can be …"),
    (nothing, "--audit models", "--audit HERE/models: Is a directory; give a file that can be written, in a folder …"),
    (writes("data", "a file"), "", "--data HERE/data: nothing can be kept there (Not a directory): give a folder …"),
    (nothing, "--shared gone", "--shared HERE/gone: pictures cannot be kept there (No such file or directory): give …"),
    (nothing, "--mnist gone.npz", "--mnist: there is no HERE/gone.npz, so trainings that need it are refused until …"),
    (nothing, "--results-bytes 1M", "Unused: --results-bytes has no effect without --results."),
    (nothing, "--user a:b --users x.db", "Unused: --users has no effect beside --user, which takes the place of …"),
    (nothing, "--tcp-max-bytes 1M", "Unused: --tcp-max-bytes has no effect with --tcp-port off."),
    (nothing, "--tcp-port 0 --tcp-config gone.ini", "--tcp-config: HERE/gone.ini cannot be read: No such file …"),
    (
        nothing,
        "--tcp-port 0 --tcp-authorized-keys gone",
        "--tcp-authorized-keys: HERE/gone cannot be read (No such file or directory): name a file as ssh uses it",
    ),
]


@pytest.mark.parametrize(("put", "words", "sentence"), WRONG)
def test_a_wrong_input_is_one_sentence(
    check: Checked, place: Place, put: Callable[[Place], None], words: str, sentence: str
) -> None:
    put(place)
    code, lines = check(*words.split())
    assert (code, len(lines)) == (2, 1), lines
    pattern = ".*".join(map(re.escape, sentence.replace("HERE", str(place.folder)).split("…")))
    assert re.fullmatch(pattern, lines[0]), lines[0]


def test_all_faults_are_told_at_once(check: Checked, place: Place) -> None:
    place.write("a.toml", 'prot = 1\nhz = "fast"\nworkers = -1\nmodel = "nix"\nresults-bytes = "1M"\ncert = "c.pem"\n')
    place.write(".env", "IMAGESERVER_PRT=1\nIMAGESERVER_CONFIG=a.toml\n")
    code, lines = check("-a", "--nonsense", "--session-models", "gone")
    assert code == 2
    told = ("--nonsense", "IMAGESERVER_PRT", "key prot", "hz in", "workers in", "'gone'", "--auth", "--results-bytes")
    assert len(lines) == len(told) and all(word in line for word, line in zip(told, lines, strict=True)), lines


def test_what_nobody_knows_is_not_held_against_other_things(check: Checked, place: Place) -> None:
    """A file that cannot be read might name another port, other models, other users."""
    place.write("a.toml", "= broken")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, lines = check("--config", "a.toml", "-i", "127.0.0.1", "-p", str(taken.getsockname()[1]))
    assert (code, len(lines)) == (2, 1), lines


NOBODY = 2**22 + 1
"""No process has this number."""


def test_a_port_that_somebody_has(check: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: NOBODY)  # or it would be one's own
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = check("-i", "127.0.0.1", "-p", str(port), f"--tcp-port={port}", "--tcp-ip=127.0.0.1")
    assert code == 2
    assert [line.partition(":")[0] for line in lines] == [
        f"--tcp-port is {port}, which HTTP has",
        f"port {port} on 127.0.0.1 is in use",
        f"the legacy TCP port {port} on 127.0.0.1 is in use already",
    ]


@pytest.fixture
def running(place: Place) -> Iterator[int]:
    """The port of a server that has the data folder: this process, as far as anybody can see."""
    lock = data_lock.DataLock(place.folder / "data", pytest.fail)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lock.take(f"http://127.0.0.1:{port}")
        yield port
        for descriptor in lock._held.values():
            os.close(descriptor)


def test_ones_own_server_is_said_as_such(
    check: Checked, place: Place, running: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: NOBODY)  # the command is another one
    code, lines = check("-i", "127.0.0.1", "-p", str(running))
    assert (code, len(lines)) == (0, 1)
    assert f"the server that uses {place.folder / 'data'} now is process {process} on " in lines[0]
    code, lines = check("--data=other", "-i", "127.0.0.1", "-p", str(running))
    assert code == 2 and "is in use" in lines[0]


def test_who_was_killed_has_nothing(place: Place) -> None:
    (place.folder / "data").mkdir()
    place.write("data/server.lock", f"process {NOBODY} on {socket.gethostname()}, http://0.0.0.0:80, since then")
    assert data_lock.holder(place.folder / "data") is None


def test_users_are_counted_and_left_as_they_are(check: Checked, place: Place) -> None:
    UserDB(place.folder / "data" / "users.db").add("alice", "secret")
    assert check("-a")[0] == 0


def test_weights_that_somebody_has_to_fetch_are_no_fault_until_they_are_needed(check: Checked, place: Place) -> None:
    place.model("far", 'weights = "far.h5"\nweights_hint = "Fetch it from https://example.org."')
    (place.folder / "models/far/model.py").write_text("def build(): ...")
    code, lines = check()
    assert code == 0 and "2 models (far without weights)" in lines[0]
    code, lines = check("--preload", "far")
    assert code == 2 and lines[0].endswith("models/far. Fetch it from https://example.org.")


def test_a_start_that_fails_is_told_everything_that_stops_it(place: Place) -> None:
    arguments = ["--data=data", "--models=models", "-m=nix", "-p=0", "--tcp-port=off", "--results=gone/file", "-a"]
    said = everything.further(arguments, ["--model and --preload: there is no model 'nix'; there are: eye"])
    assert said == [
        f"--results {place.folder}/gone/file: No such file or directory; give a file that can be written, or - for "
        "standard output"
    ]
    assert everything.further(["-h"], []) == []


def test_a_port_that_the_failed_start_has_itself_is_not_held_against_it(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        words = ["--data=data", "--models=models", "-m=eye", "--tcp-port=off", f"127.0.0.1:{ours.getsockname()[1]}"]
        assert everything.further(words, []) == []


@pytest.mark.parametrize("option", ["-h", "--help-all", "--version", "--print-config"])
def test_it_prints_what_is_asked_for(check: Checked, option: str) -> None:
    code, lines = check(option)
    assert code == 0 and lines


def test_the_port_is_not_kept(check: Checked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert check("-i", "127.0.0.1", "-p", str(port))[0] == 0
    hub.listen("127.0.0.1", port).close()
