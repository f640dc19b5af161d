"""A data folder of the version before (tests/data/before) is taken over at the first start, and nothing is lost."""

from __future__ import annotations

import base64
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.running import PATIENCE, ROOT, Server

from imageserver.accounts.database import User, UserDB
from imageserver.accounts.store import schema as users_schema
from imageserver.protocols.snap.local import schema as snippets_schema

PASSWORD = "the same for all"
USERS = [
    User("Zoë Ärmel", frozenset({"camera", "viewer"}), "lenet", 2.5, 90),
    User("alice", frozenset({"camera"})),
    User("bob", frozenset({"viewer"})),
    User("carol", frozenset({"admin"})),
    User("test_nn", frozenset({"camera", "viewer", "admin"})),
]
NUMBERS = {1: 3, 7: 1, 2**40: 1}
"""How many pictures each number has."""
DIGIT = ROOT / "clients/samples/digits/1.png"

DATABASES = {"users.db": users_schema.VERSION, "snippets/snippets.db": snippets_schema.VERSION}
COPIES = ["users.db.before-1", f"snippets/snippets.db.before-{snippets_schema.VERSION}"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """That folder."""
    with tarfile.open(ROOT / "tests/data/before/data.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "data"


class Session(requests.Session):
    """Asks as one user."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__()
        self._url = server.url
        self.auth = (name.encode(), PASSWORD)
        self.trust_env = False

    def json_of(self, path: str) -> Any:
        answer = self.get(self._url + path, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def bytes_of(self, path: str) -> bytes:
        answer = self.get(self._url + path, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.content

    def number(self, picture: bytes) -> str:
        """Which digit LeNet reads."""
        body = {"image": base64.b64encode(picture).decode()}
        answer = self.post(f"{self._url}/lenet/classify", json=body, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["number"])


def check_everything(server: Server) -> None:
    """Whoever was there logs in, and finds what was there."""
    for user in USERS:
        with Session(server, user.name) as session:
            assert session.json_of("/list_nn")["text"]
    with Session(server, "test_nn") as session:
        newest = session.json_of("/snippets/")["snippets"]
        assert [snippet["id"] for snippet in newest] == list(NUMBERS)
        for snippet in newest:
            earlier = session.json_of(f"/snippets/{snippet['id']}/?history=1")["history"]
            assert len(earlier) == NUMBERS[snippet["id"]]
            assert earlier[0].items() <= snippet.items()
            assert len(session.bytes_of(snippet["image"])) == snippet["size"]
        assert session.json_of("/lenet/train/status")["accuracy"] == "10.00"
        assert session.number(DIGIT.read_bytes()) == "7"


def look(data: Path, *names: str) -> list[tuple[int, str]]:
    """The versions of databases and what is in them, read from a copy, since looking at a log of writes moves it."""
    found = []
    for name in names:
        with closing(sqlite3.connect(":memory:")) as memory:
            elsewhere = data.parent / "looked-at"
            shutil.rmtree(elsewhere, ignore_errors=True)
            shutil.copytree((data / name).parent, elsewhere, symlinks=True)
            with closing(sqlite3.connect(elsewhere / Path(name).name)) as copy:
                copy.backup(memory)
            version = memory.execute("PRAGMA user_version").fetchone()[0]
            found.append((version, "\n".join(memory.iterdump())))
    return found


def test_it_is_taken_over_once(data: Path) -> None:
    before, trained = look(data, *DATABASES), (data / "models/lenet").readlink()
    found = []
    for told in (True, False):
        with Server("-a", "--snippet-history", "3", data=data, model="lenet") as server:
            check_everything(server.ready())
            for copy in COPIES:
                assert bool(server.find(f"taken over .*/{copy} ")) is told
        found.append(look(data, *DATABASES))
        assert [version for version, _ in found[-1]] == list(DATABASES.values())
        assert look(data, *COPIES) == before, "copies hold what was there, its log of writes included"
    assert found[0] == found[1]
    assert sorted(UserDB(data / "users.db").list(), key=lambda user: user.name) == USERS
    assert (data / "models/lenet").readlink() == trained
    assert all((data / copy).stat().st_mode & 0o077 == 0 for copy in COPIES[:1]), "it holds hashes of passwords"


NEWER = 99


def make_newer(path: Path) -> dict[str, bytes]:
    """What is in the folder of a database that a newer server has written."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {NEWER}")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


@pytest.mark.parametrize("name", DATABASES)
def test_what_a_newer_server_wrote_is_refused(data: Path, name: str) -> None:
    path = data / name
    before = make_newer(path)
    server = Server("-a", data=data)
    with pytest.raises(AssertionError), server:
        pass
    server.__exit__()
    (sentence,) = server.lines
    assert server.process.returncode == (75 if name == "users.db" else 2), sentence
    assert path.name in sentence
    assert str(NEWER) in sentence
    for file, content in before.items():
        assert (path.parent / file).read_bytes() == content, file


@pytest.mark.parametrize("command", ["list", "add eve", "passwd alice", "remove alice", "set alice --hz 1"])
def test_the_command_refuses_what_a_newer_server_wrote(data: Path, command: str) -> None:
    before = make_newer(data / "users.db")
    program = [sys.executable, ROOT / "src/userdb.py", *command.split(), "--data", data]
    ended = subprocess.run(program, input="a password\n", capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2, ended
    assert len(ended.stderr.splitlines()) == 1
    assert f"version {NEWER}" in ended.stderr
    assert {file.name: file.read_bytes() for file in data.iterdir() if file.is_file()} == before


KILLED = """
import itertools, os, shutil, signal, sqlite3, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import bootstrap

bootstrap.provide_package()
from imageserver.accounts.database import UserDB
from imageserver.protocols.snap.local.store import SnapStore

source, folder = map(Path, sys.argv[2:4])
left = -1
connect = sqlite3.connect


def count(*_what):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def watch(event, _arguments):
    if event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "open"):
        count()


def watched(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(count)
    return connection


def take_over():
    UserDB(folder / "users.db").list()
    SnapStore(folder / "snippets", history=3, max_bytes=10**9, max_files=100).close()


sys.addaudithook(watch)
sqlite3.connect = watched
for moment in itertools.count(1, int(sys.argv[4])):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, symlinks=True)
    pid = os.fork()
    if pid == 0:
        left = moment
        take_over()
        os._exit(0)
    ended = os.waitpid(pid, 0)[1]
    take_over()
    print(moment, flush=True)
    sys.stdin.readline()
    if ended == 0:
        break
    assert ended == signal.SIGKILL, ended
"""
"""Takes a folder over again and again, killed one step later each time: statements of SQL and changes of files."""


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_a_takeover_that_was_killed_is_finished_at_the_next_start(data: Path, tmp_path: Path, step: int) -> None:
    folder, before, moments = tmp_path / "killed", look(data, *DATABASES), 0
    command = [sys.executable, "-W", "ignore", "-c", KILLED, ROOT / "src", data, folder, str(step)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for moments in map(int, process.stdout):
            versions = [version for version, _ in look(folder, *DATABASES)]
            assert versions == list(DATABASES.values()), moments
            assert look(folder, *COPIES) == before, moments
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert moments > 50
