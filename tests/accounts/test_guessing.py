"""Guesses by the hundred at a real server: the limit of them is looked at, and whoever is right gets in meanwhile."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import pytest
from tests.accounts.guessing import ANOTHER, GUESSER, HONEST, Target, at_once, count
from tests.passwords import CHEAP
from tests.running import Server

from imageserver.accounts.database import UserDB

KEY, LIMIT, GUESSES = "the right key", 5, 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with users and a session key, whose guard lets little pass."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("alice", "bob"):
        UserDB(folder / "users.db", CHEAP).add(name, "secret", ["admin"])
    with Server("-a", f"--session-key={KEY}", f"--login-attempts={LIMIT}", data=folder) as running:
        yield running


def looked_at(target: Target) -> float:
    """Logins that were refused because they were wrong, so far."""
    credentials = base64.b64encode(b"bob:secret").decode()

    async def ask(_number: int) -> str:
        answer = await target.request(HONEST, "GET", "/metrics", f"Authorization: Basic {credentials}\r\n")
        assert answer[0] == "200"
        return answer[1]

    text = at_once(1, ask)[0][0].found
    found = re.search(r'imageserver_logins_total\{result="refused"\} (\d+)', text)
    return float(found[1]) if found else 0


def test_passwords(server: Server) -> None:
    target = Target(server.port)
    guesses, others = at_once(
        GUESSES,
        lambda number: target.basic(GUESSER, "alice", f"guess {number}"),
        lambda: target.basic(HONEST, "alice", "secret"),
    )
    assert count(guesses) == {"401": LIMIT, "429": GUESSES - LIMIT}
    assert set(count(others)) == {"200"}
    assert looked_at(target) == LIMIT
    assert len([line for line in server.lines if f"from address {GUESSER} failed: it has to pause" in line]) == 1


def test_session_keys(server: Server) -> None:
    target = Target(server.port)
    before = looked_at(target)
    guesses, others = at_once(
        GUESSES,
        lambda number: target.connect(ANOTHER, {"key": f"guess {number}"}),
        lambda: target.connect(HONEST, {"key": KEY}),
    )
    found = count(guesses)
    assert found["the key is wrong"] == looked_at(target) - before == LIMIT
    assert sum(number for text, number in found.items() if "too many logins failed" in text) == GUESSES - LIMIT
    assert set(count(others)) == {"connected"}
    assert len([line for line in server.lines if f"a session key from {ANOTHER} is wrong" in line]) == LIMIT
