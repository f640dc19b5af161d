"""Guess passwords and keys at a server, hundreds at once, and tell what comes of it.

    python bench/logins.py [--guesses 300] [--honest 300]

Guesses come from 127.0.0.1. Beside them somebody at 127.0.0.2 logs in with the right password again and again, each
time as another user, so that each is hashed. At last a crowd with right passwords comes from one address at once, as
cameras behind one router do after a restart. Told are: how many guesses were looked at, how long the others waited.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

from tests.accounts.guessing import GUESSER, HONEST, Login, Target, at_once, count
from tests.running import Server

from imageserver.accounts.database import UserDB

KEY = "the right key"
USERS = 40


class Kind(NamedTuple):
    """One kind of guess."""

    name: str
    options: Sequence[str]
    """Of the server."""
    guess: Callable[[Target, int], Awaitable[str]]
    right: Callable[[Target, int], Awaitable[str]]


KINDS = (
    Kind(
        "passwords over REST",
        ["-a"],
        lambda target, number: target.basic(GUESSER, "user 0", f"guess {number}"),
        lambda target, number: target.basic(HONEST, f"user {number % USERS}", "secret"),
    ),
    Kind(
        "passwords over Socket.IO",
        ["-a"],
        lambda target, number: target.connect(GUESSER, {"user": "user 0", "password": f"guess {number}"}),
        lambda target, number: target.connect(HONEST, {"user": f"user {number % USERS}", "password": "secret"}),
    ),
    Kind(
        "session keys",
        [f"--session-key={KEY}"],
        lambda target, number: target.connect(GUESSER, {"key": f"guess {number}"}),
        lambda target, _number: target.connect(HONEST, {"key": KEY}),
    ),
)


def told(what: str, guesses: Sequence[Login], others: Sequence[Login]) -> None:
    """Print what came of guesses."""
    slowest, usual = max(login.seconds for login in others), sorted(login.seconds for login in others)[len(others) // 2]
    print(f"{what}: {len(guesses)} guesses took {max(login.seconds for login in guesses):.1f} s")
    for found, number in count(guesses).most_common():
        print(f"    {number:4d} x {found}")
    print(f"    beside them {len(others)} right logins: {usual * 1e3:.0f} ms each, at worst {slowest * 1e3:.0f} ms;")
    print(f"    {dict(count(others))}")


def run(kind: Kind, guesses: int, folder: Path) -> None:
    """One kind of guess, at a server of its own."""
    with Server(*kind.options, data=folder) as server:
        target, numbers = Target(server.ready().port), itertools.count()
        found = at_once(guesses, lambda number: kind.guess(target, number), lambda: kind.right(target, next(numbers)))
        told(kind.name, *found)
        print(f"    lines of the log that say so: {sum('has to pause' in line for line in server.lines)}")


def crowd(honest: int, folder: Path) -> None:
    """Many with right passwords, at once and from one address."""
    with Server("-a", data=folder) as server:
        target = Target(server.ready().port)
        logins, _ = at_once(
            honest, lambda number: target.connect(GUESSER, {"user": f"user {number % USERS}", "password": "secret"})
        )
    slowest = max(login.seconds for login in logins)
    print(f"{honest} right passwords at once from one address: {dict(count(logins))}, the last after {slowest:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guesses", type=int, default=300, help="at the same moment")
    parser.add_argument("--honest", type=int, default=300, help="with right passwords, at the same moment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        users = UserDB(Path(folder) / "users.db")
        for number in range(USERS):
            users.add(f"user {number}", "secret", ["camera"])
        for kind in KINDS:
            run(kind, options.guesses, Path(folder))
        crowd(options.honest, Path(folder))


if __name__ == "__main__":
    main()
