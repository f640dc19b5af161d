"""The database of users fails under a server with cameras: nobody gets in, nobody is put out, nobody has to pause."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from tests.conformance.peer import Peer
from tests.faults.load import Cameras, Figures
from tests.passwords import CHEAP
from tests.running import PATIENCE, Server, picture, until
from tests.transport.sio import Sio

from imageserver.accounts.database import UserDB

ROW = pytest.mark.fault(
    "users.db empty, damaged, locked, removed, replaced by an older copy",
    "503 at logins, never open, never a lock-out afterwards; the start says so and is tried again",
)
ROLES = ("camera", "viewer")
SECRET = "secret"


# ---- what is done to the file -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _rewritten(path: Path, content: bytes) -> Iterator[None]:
    """The file itself holds something else for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    yield
    path.write_bytes(before)


def empty(path: Path) -> contextlib.AbstractContextManager[None]:
    return _rewritten(path, b"")


def garbage(path: Path) -> contextlib.AbstractContextManager[None]:
    return _rewritten(path, random.Random(1).randbytes(path.stat().st_size))


def cut(path: Path) -> contextlib.AbstractContextManager[None]:
    return _rewritten(path, path.read_bytes()[: path.stat().st_size // 2 - 100])


def hollow(path: Path) -> contextlib.AbstractContextManager[None]:
    """The first page is right, all others are zeros."""
    return _rewritten(path, path.read_bytes()[:4096].ljust(path.stat().st_size, b"\0"))


@contextlib.contextmanager
def removed(path: Path) -> Iterator[None]:
    aside = path.rename(path.with_name("aside.db"))
    yield
    aside.rename(path)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    with removed(path):
        path.mkdir()
        yield
        path.rmdir()


@contextlib.contextmanager
def newer(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("PRAGMA user_version = 99")
        yield
        connection.execute(f"PRAGMA user_version = {version}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


Fault = Callable[[Path], contextlib.AbstractContextManager[None]]
AT_ONCE = (empty, garbage, cut, hollow, removed, folder, newer)
"""What is told without waiting; `locked` costs each look-up a second."""

# ---- who comes to the doors ---------------------------------------------------------------------------------------


class Doors:
    """Every way to log in at a server, by name: what is answered there."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ways: dict[str, Callable[[str, str], object]] = {
            "basic": self.login,
            "bearer": lambda _name, secret: self.bearer(secret),
            "page": self._page,
            "/ws": self._ws,
            "generation 4": lambda name, secret: self._connect(4, {"user": name, "password": secret}),
            "generation 3": lambda name, secret: self._connect(3, {"user": name, "password": secret}),
            "authenticate": self._authenticate,
        }

    def all(self, name: str, secret: str, token: str, times: int = 1) -> dict[str, set[object]]:
        """What is answered at each door to a name and a password, or a token where only that will do."""
        asked = [(way, name, token if way == "bearer" else secret) for way in self._ways] * times
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda row: self._ways[row[0]](*row[1:]), asked))
        found: dict[str, set[object]] = {way: set() for way in self._ways}
        for (way, *_shown), answer in zip(asked, answers, strict=True):
            found[way].add(answer)
        return found

    def login(self, name: str = "", secret: str = "") -> int:
        """The status of a request with a name and a password, or without both."""
        return self._get(auth=(name, secret) if name else None)

    def bearer(self, token: str) -> int:
        """The status of a request with a token."""
        return self._get(headers={"Authorization": f"Bearer {token}"})

    def _get(self, **more: Any) -> int:
        return requests.get(self._server.url + "/list_nn", timeout=PATIENCE, **more).status_code

    def _page(self, name: str, secret: str) -> int:
        wish = {"user": name, "password": secret}
        return requests.post(self._server.url + "/login", json=wish, timeout=PATIENCE).status_code

    def _ws(self, name: str, secret: str) -> int:
        pair = requests.auth._basic_auth_str(name, secret)
        url = f"ws://127.0.0.1:{self._server.port}/ws"
        try:
            opened = websocket.create_connection(
                url, timeout=PATIENCE, header=[f"Authorization: {pair}"], suppress_origin=True
            )
        except websocket.WebSocketBadStatusException as error:
            return error.status_code
        opened.shutdown()
        return 101

    def _connect(self, version: int, shown: dict[str, str]) -> str:
        with contextlib.closing(Peer(self._server.port)) as peer:
            query = shown if version == 3 else {}
            sio = Sio(peer, version, auth=shown if version == 4 else None, **query)
            sio.ws.shutdown()
        return str(sio.joined)

    def _authenticate(self, name: str, secret: str) -> str:
        with contextlib.closing(Peer(self._server.port)) as peer:
            sio = Sio(peer)
            sio.emit("authenticate", name, secret, "answer")
            answer = str(sio.recv())
            sio.emit("receiveImage", data=picture())
            what = json.loads(str(sio.recv())[2:])[0]
            sio.ws.shutdown()
        return f"{answer} {what}"


TAKEN = ("40", '42["answer",true] prediction')
UNREADABLE = "the users cannot be read at this moment"


def taken(answer: object) -> bool:
    """Whether somebody was let in."""
    return answer in (200, 101) or (isinstance(answer, str) and answer.startswith(TAKEN))


def unavailable(answer: object) -> bool:
    """Whether somebody was told that nobody can log in now."""
    return answer == 503 or UNREADABLE in str(answer)


def every(answers: dict[str, set[object]], wanted: Callable[[object], bool]) -> bool:
    """Whether all doors answered so."""
    return all(wanted(answer) for found in answers.values() for answer in found)


@pytest.fixture
def users(tmp_path: Path) -> UserDB:
    found = UserDB(tmp_path / "users.db", CHEAP)
    for name in ("cam", "alice"):
        found.add(name, SECRET, ROLES)
    return found


def lives_through(server: Server, users: UserDB, faults: Sequence[Fault], guesses: int) -> tuple[Figures, int]:
    """Do faults to the file, one after the other; what cameras saw, and how many asked meanwhile."""
    assert users.path is not None
    doors, asked = Doors(server.ready()), 0
    _token, token = users.add_token("alice")
    gone, unknown = users.add_token("alice")
    users.revoke(gone.identity)
    with Cameras(server.port, count=2, user="cam", password=SECRET) as cameras:
        cameras.settle()
        for fault in faults:
            with fault(users.path):
                for secret, shown in ((SECRET, token), ("wrong", unknown), (SECRET, token)):
                    answers = doors.all("alice", secret, shown, guesses)
                    assert every(answers, unavailable), (fault.__name__, secret, answers)
                    asked += guesses * len(answers)
                assert doors.login() in (401, 503)
            answers = doors.all("alice", SECRET, token)
            assert every(answers, taken), ("after", fault.__name__, answers)
        figures = cameras.figures()
    assert not figures.lost and not figures.errors and figures.connected == 2
    assert not server.find("pause")
    told = [line for line in server.lines if "nobody can log in" in line or "can log in again" in line]
    assert len(told) <= 4, told
    return figures, asked


@ROW
@pytest.mark.parametrize(
    ("faults", "guesses"),
    [((empty, garbage, removed), 1), pytest.param((*AT_ONCE, locked) * 2, 4, marks=pytest.mark.long)],
)
def test_nobody_gets_in_nobody_is_paused_and_all_is_well_afterwards(
    tmp_path: Path, users: UserDB, faults: Sequence[Fault], guesses: int, tell: Callable[[str], None]
) -> None:
    with Server("-a", data=tmp_path) as server:
        figures, asked = lives_through(server, users, faults, guesses)
    tell(f"{len(faults)} times: {asked} logins told 503, then all let in; {figures.lost} of 2 cameras lost")


def renamed(older: Path, path: Path) -> None:
    os.replace(shutil.copy2(older, older.with_suffix(".new")), path)


def copied_over(older: Path, path: Path) -> None:
    shutil.copy2(older, path)


@ROW
@pytest.mark.long
@pytest.mark.parametrize("put", [renamed, copied_over])
def test_an_older_copy_is_what_counts_from_then_on(
    tmp_path: Path, users: UserDB, put: Callable[[Path, Path], None], tell: Callable[[str], None]
) -> None:
    """Who was removed or revoked since comes back by nature; a login that the copy does not know as it is ends."""
    assert users.path is not None
    users.add("guest", SECRET, ROLES)
    _token, revoked = users.add_token("alice")
    older = Path(shutil.copy2(users.path, tmp_path / "older.db"))
    users.passwd("alice", "new secret")
    users.revoke(revoked)
    users.remove("guest")
    users.add("carol", SECRET, ROLES)
    latest = Path(shutil.copy2(users.path, tmp_path / "latest.db"))
    with Server("-a", "--audit", str(tmp_path / "audit.jsonl"), data=tmp_path) as server:
        doors = Doors(server.ready())
        with (
            Cameras(server.port, count=2, user="cam", password=SECRET) as cameras,
            contextlib.closing(Peer(server.port)) as peer,
        ):
            live = [Sio(peer, auth={"user": name, "password": secret}) for name, secret in NOW.items()]
            assert all(one.joined.startswith("40") for one in live)
            cameras.settle()
            put(older, users.path)
            begun = time.monotonic()
            for one in live:
                one.closed()
            seconds = time.monotonic() - begun
            assert seconds < 4
            assert every(doors.all("guest", SECRET, revoked), taken)
            for name, secret in NOW.items():
                assert doors.login(name, secret) == 401
            put(latest, users.path)
            assert doors.login("guest", SECRET) == 401 and doors.bearer(revoked) == 401
            for name, secret in NOW.items():
                assert doors.login(name, secret) == 200
            figures = cameras.figures()
        assert not figures.lost and not figures.errors and not server.find("pause|Traceback")
    tell(f"logins that an older copy does not know ended after {seconds:.1f} s, 0 of 2 others")


NOW = {"alice": "new secret", "carol": SECRET}
"""Who is there after the copy was made."""


@ROW
@pytest.mark.long
@pytest.mark.parametrize("fault", [empty, garbage, cut, hollow, folder, newer, locked])
def test_the_start_says_so_and_is_tried_again(
    tmp_path: Path, users: UserDB, fault: Fault, tell: Callable[[str], None]
) -> None:
    """As systemd does, which tries again after all but code 2 (tests/deploy/test_service.py)."""
    assert users.path is not None
    before = users.path.read_bytes()
    with fault(users.path):
        server = Server("-a", data=tmp_path)
        assert server.process.wait(PATIENCE) == 75
        server.__exit__()
        (sentence,) = server.lines
        assert str(users.path) in sentence
    assert users.path.read_bytes() == before or fault is newer
    with Server("-a", data=tmp_path) as server:
        assert Doors(server).login("alice", SECRET) == 200
    tell(f"{fault.__name__}: code 75 at the start, then well")


@ROW
@pytest.mark.long
def test_without_auth_it_starts_and_serves_those_who_need_no_login(
    tmp_path: Path, users: UserDB, tell: Callable[[str], None]
) -> None:
    assert users.path is not None
    with contextlib.ExitStack() as stack:
        stack.enter_context(garbage(users.path))
        with Server(data=tmp_path) as server, Cameras(server.ready().port, count=2) as cameras:
            server.wait_for("warning: the user database .* cannot be used")
            cameras.settle()
            assert Doors(server).login("alice", SECRET) == 503
            assert Doors(server).login() == 401, "it is not known that nobody need log in"
            stack.close()
            until(lambda: Doors(server).login("alice", SECRET) == 200, "the users")
            assert not cameras.figures().lost
    tell("without -a cameras are served, REST says 503 until the file is back")
