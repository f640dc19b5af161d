"""The server is killed amid writes: what it had acknowledged is there afterwards, and nothing is half there."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.faults.load import Cameras
from tests.passwords import CHEAP
from tests.protocols.http.short_training import draw_digits, worsen
from tests.running import PATIENCE, ROOT, Camera, Server, picture, until

from imageserver.accounts.database import ROLES, UserDB

ROW = pytest.mark.fault(
    "kill -9 of the server amid 200 writes", "every acknowledged write is there afterwards, none is half there"
)
ADMIN = ("admin", "a password")
WRITES = 200


@dataclass
class Ledger:
    """What clients were told is written: by kind and name what it is, None where it was removed."""

    done: dict[tuple[str, str], Any] = field(default_factory=dict)
    doubtful: set[tuple[str, str]] = field(default_factory=set)
    """What was under way when the server was killed: it may be there or not."""
    acknowledged: int = 0

    def write(self, kind: str, name: str, value: Any, act: Callable[[], Any]) -> Any:
        """Do it; what is raised leaves it in doubt."""
        self.doubtful.add((kind, name))
        result = act()
        self.done[kind, name] = value
        self.doubtful.discard((kind, name))
        self.acknowledged += 1
        return result

    def of(self, kind: str) -> dict[str, Any]:
        """What must be there, or not be there, of one kind."""
        known = {key: value for key, value in self.done.items() if key not in self.doubtful}
        return {name: value for (found, name), value in known.items() if found == kind}


class Writers:
    """Clients that write through each door until the server is gone, and perhaps an operator beside it.

    Args:
        server: where.
        data: its folder, for the operator.
        ledger: where they note what was acknowledged.
        prefix: of the names that they give, which are new in each round.
        beside: whether there is an operator.
    """

    def __init__(self, server: Server, data: Path, ledger: Ledger, prefix: str, beside: bool) -> None:
        self._url, self._data, self._ledger, self._prefix = server.url, data, ledger, prefix
        self._ended = False
        self._unexpected: list[str] = []
        each = (self._users, self._tokens, self._snippets, *([self._operator] if beside else []))
        self._threads = [threading.Thread(target=self._run, args=(write,)) for write in each]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()
        assert not self._unexpected

    def _run(self, write: Callable[[requests.Session, int], None]) -> None:
        with requests.Session() as session:
            session.auth, session.trust_env = ADMIN, False
            for number in range(WRITES):
                if self._ended:
                    return
                try:
                    write(session, number)
                except requests.RequestException:
                    return
                except (AssertionError, LookupError, ValueError) as error:
                    self._unexpected.append(repr(error))
                    return

    def _ask(self, session: requests.Session, method: str, path: str, **more: Any) -> requests.Response:
        answer = session.request(method, self._url + path, timeout=PATIENCE, **more)
        assert answer.status_code in (200, 201), (method, path, answer.text)
        return answer

    def _users(self, session: requests.Session, number: int) -> None:
        name = f"{self._prefix}-{number}"
        path, wish = f"/users/{name}", {"password": f"password of {name}", "roles": ["viewer"]}
        self._ledger.write("user", name, 0.0, lambda: self._ask(session, "PUT", path, json=wish))
        if number % 3 == 1:
            self._ledger.write("user", name, 5.0, lambda: self._ask(session, "PUT", path, json={"hz": 5}))
        elif number % 3 == 2:
            self._ledger.write("user", name, None, lambda: self._ask(session, "DELETE", path))

    def _tokens(self, session: requests.Session, number: int) -> None:
        wish = {"name": f"{self._prefix} {number}"}
        made = self._ask(session, "POST", "/tokens/", json=wish).json()
        self._ledger.write("token", made["token"], True, lambda: None)
        if number % 3 == 2:
            path = "/tokens/" + made["token"].split("_")[1]
            self._ledger.write("token", made["token"], None, lambda: self._ask(session, "DELETE", path))

    def _snippets(self, session: requests.Session, number: int) -> None:
        identity = 1000 * int(self._prefix[1:]) + number
        path = f"/snippets/{identity}/"
        for width in (40, 50) if number % 3 == 1 else (40,):  # the second takes the place of the first
            content = picture(number, width + number)
            self._ledger.write("snippet", str(identity), content, functools.partial(self._put, session, path, content))
        if number % 3 == 2:
            self._ledger.write("snippet", str(identity), None, lambda: self._ask(session, "DELETE", path))

    def _put(self, session: requests.Session, path: str, content: bytes) -> None:
        self._ask(session, "PUT", path, data=content)

    def _operator(self, _session: requests.Session, number: int) -> None:
        """`userdb.py`, which goes on whatever becomes of the server."""
        name = f"{self._prefix}-by-hand-{number}"
        command = [sys.executable, ROOT / "src/userdb.py", "add", name, "--data", self._data]
        self._ledger.write("user", name, 0.0, lambda: _command(command))


def _command(command: list[Any]) -> None:
    done = subprocess.run(command, input="a password\n", capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


OPTIONS = ("-a", "--max-tokens", "10000", "--snippet-files", "100000", "--hz", "20")


def written(data: Path) -> tuple[str, ...]:
    """The options by which a server writes all that it can."""
    return (*OPTIONS, "--audit", str(data / "audit.jsonl"), "--results", str(data / "results.jsonl"))


def kill_amid(data: Path, ledger: Ledger, chance: random.Random, number: int, crowded: bool) -> None:
    """Have a server write, and kill it when it has acknowledged some; `crowded`: beside cameras and an operator."""
    with Server(*written(data), data=data) as server, contextlib.ExitStack() as stack:
        if crowded:
            shown = {"user": ADMIN[0], "password": ADMIN[1]}
            stack.enter_context(Cameras(server.ready().port, count=2, **shown)).settle()
        enough = ledger.acknowledged + chance.randrange(30, WRITES)
        stack.enter_context(Writers(server, data, ledger, f"r{number}", crowded))
        until(lambda: ledger.acknowledged >= enough, f"{enough} acknowledged writes, not {ledger.acknowledged}")
        time.sleep(chance.random() / 20)  # at any moment of what is under way
        server.process.kill()
        server.process.wait()


def recorded(data: Path) -> set[str]:
    """The files of pictures that have a record; a number may have several, where a client asked twice."""
    with closing(sqlite3.connect(data / "snippets/snippets.db")) as database:
        return {file for (file,) in database.execute("SELECT file FROM pictures")}


def check(data: Path, ledger: Ledger) -> None:
    """Whether another server has what was acknowledged, whole."""
    with Server(*written(data), data=data) as server, requests.Session() as session:
        session.auth, session.trust_env = ADMIN, False
        users = {user["name"]: user for user in _all(session, f"{server.ready().url}/users/")}
        for name, hz in ledger.of("user").items():
            assert (name in users) is (hz is not None), (name, hz)
            assert hz is None or (users[name]["hz"] or 0.0) == hz
        found = UserDB(data / "users.db")
        for text, there in ledger.of("token").items():
            assert (found.check_token(text) is not None) is (there is not None)
        for name in [name for name, hz in ledger.of("user").items() if hz is not None][-2:]:
            assert found.check(name, "a password" if "by-hand" in name else f"password of {name}")
        kept = {str(snippet["id"]) for snippet in _all(session, f"{server.url}/snippets/", "snippets")}
        for identity, content in ledger.of("snippet").items():
            assert (identity in kept) is (content is not None), identity
            if content is not None:
                assert session.get(f"{server.url}/snippets/{identity}/image").content == content
        until(lambda: {path.name for path in (data / "snippets/pictures").iterdir()} == recorded(data), "nothing half")
        assert "admin" in until(lambda: _audited(data, ledger), "every user in the audit")
        with Camera(server, auth={"user": ADMIN[0], "password": ADMIN[1]}) as camera:
            assert camera.ask(picture())["label"]
    for database in ("users.db", "snippets/snippets.db"):
        with closing(sqlite3.connect(data / database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for file in ("audit.jsonl", "results.jsonl"):
        for line in (data / file).read_text().splitlines():
            json.loads(line)


def _all(session: requests.Session, url: str, what: str = "") -> list[dict[str, Any]]:
    """All rows of a list that comes in pages."""
    found = []
    while url:
        answer = session.get(url, timeout=PATIENCE)
        found += answer.json()[what] if what else answer.json()
        url = requests.compat.urljoin(url, answer.links["next"]["url"]) if "next" in answer.links else ""
    return found


def _audited(data: Path, ledger: Ledger) -> set[str]:
    """Users whom the audit says to have been added; empty until all acknowledged ones are among them."""
    entries = [json.loads(line) for line in (data / "audit.jsonl").read_text().splitlines()]
    found = {entry["user"] for entry in entries if entry["event"] == "user added"}
    return found if found >= set(ledger.of("user")) else set()


@ROW
@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_every_acknowledged_write_is_there(tmp_path: Path, rounds: int, tell: Callable[[str], None]) -> None:
    UserDB(tmp_path / "users.db", CHEAP).add(*ADMIN, ROLES)
    ledger, chance = Ledger(), random.Random(rounds)
    for number in range(1, rounds + 1):
        kill_amid(tmp_path, ledger, chance, number, crowded=rounds > 1)
        check(tmp_path, ledger)
    kinds = {kind: len(ledger.of(kind)) for kind in ("user", "token", "snippet")}
    told = ", ".join(f"{number} {kind}s" for kind, number in kinds.items())
    tell(f"{rounds} kills amid {ledger.acknowledged} acknowledged writes ({told}): none lost, none half there")


def train(server: Server) -> Iterator[str]:
    """Start a training; its states, as followers hear them."""
    with requests.Session() as session:
        session.auth, session.trust_env = ADMIN, False
        assert session.post(f"{server.url}/lenet/train", timeout=PATIENCE).status_code == 200
        with session.get(f"{server.url}/lenet/train/events", stream=True, timeout=TRAINED_WITHIN) as answer:
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])["state"]


def follow(server: Server, seconds: float) -> float | None:
    """Train, and kill the server after so many seconds, or when the training is acknowledged, and then at once.

    Returns:
        After how many seconds it was acknowledged; None where the server was killed before.
    """
    begun = time.monotonic()
    killing = threading.Timer(seconds, server.process.kill)
    killing.start()
    took = None
    with contextlib.suppress(requests.RequestException):
        if "completed" in train(server):
            took = time.monotonic() - begun
            server.process.kill()
    killing.cancel()
    server.process.wait()
    return took


TRAINED_WITHIN = 400.0
"""Seconds; a training has the lowest priority."""


@ROW
@pytest.mark.long
@pytest.mark.timeout(1100)
def test_a_training_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    """The shipped model is made useless, so that each training gives one that serves."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # what is converted here is of no use to others
    models, data = tmp_path / "models", tmp_path / "data"
    data.mkdir()
    shutil.copytree(ROOT / "models" / "lenet", models / "lenet")
    worsen(models / "lenet")
    digits = draw_digits(tmp_path / "mnist.npz")
    options = ("-a", "--mnist", str(digits), "--training-samples", "128")
    UserDB(data / "users.db", CHEAP).add(*ADMIN, ROLES)
    chance, whole, took, kills = random.Random(14), "", TRAINED_WITHIN, 4
    for kill in range(kills):
        with Server(*options, data=data, models=models, model="lenet") as server:
            found = follow(server.ready(), took * (chance.random() if kill else 1.0))
        with Server(*options, data=data, models=models, model="lenet") as server:
            answer = requests.get(f"{server.ready().url}/lenet/train/status", auth=ADMIN, timeout=PATIENCE).json()
            serves = os.path.realpath(data / "models" / "lenet")
            if found is not None:
                took = found
                assert serves != whole and "note" not in answer, answer
            elif serves == whole:
                assert "ended with the server; the model from before serves" in answer["note"]
            assert kill or found is not None, "the first is acknowledged"
            whole = serves
            assert Path(whole, "weights.npz").is_file() and answer["accuracy"]
    tell(f"{kills} kills amid trainings and as one was done: the acknowledged model serves, none is half")
