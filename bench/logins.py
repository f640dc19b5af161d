"""Guess passwords and keys at a server, hundreds at once, and tell what comes of it.

    python bench/logins.py [--guesses 300] [--honest 300]

Guesses come from 127.0.0.1. Beside them somebody at 127.0.0.2 logs in with the right password again and again, each
time as another user, so that each is hashed. At last a crowd with right passwords comes from one address at once, as
cameras behind one router do after a restart. Told are: how many guesses were looked at, how long the others waited.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

from tests.accounts.guessing import GUESSER, HONEST, Login, Target, at_once, count
from tests.running import Server

from imageserver.accounts.database import UserDB

KEY = "the right key"
USERS = 40
SERVERS = ("passwords over REST", "passwords over Socket.IO", "session keys")


def told(what: str, guesses: Sequence[Login], others: Sequence[Login]) -> None:
    """Print what came of guesses."""
    slowest, usual = max(login.seconds for login in others), sorted(login.seconds for login in others)[len(others) // 2]
    print(f"{what}: {len(guesses)} guesses took {max(login.seconds for login in guesses):.1f} s")
    for found, number in count(guesses).most_common():
        print(f"    {number:4d} x {found}")
    print(f"    beside them {len(others)} right logins: {usual * 1e3:.0f} ms each, at worst {slowest * 1e3:.0f} ms;")
    print(f"    {dict(count(others))}")


def figures(server: Server) -> dict[str, float]:
    """Logins by result, as the server counts them."""
    text = server.get("/metrics")[1].decode()
    return {result: float(number) for result, number in re.findall(r'_logins_total\{result="(\w+)"\} (\S+)', text)}


def run(what: str, guesses: int, folder: Path) -> None:
    """One kind of guess, at a server of its own."""
    keys = what == "session keys"
    with Server(*([f"--session-key={KEY}"] if keys else ["-a"]), data=folder) as server:
        target, names = Target(server.ready().port), itertools.cycle(range(USERS))

        def password(name: str, secret: str, source: str) -> object:
            if what == "passwords over REST":
                return target.basic(source, name, secret)
            return target.connect(source, {"user": name, "password": secret})

        attack: Callable[[int], object] = lambda number: password("user 0", f"guess {number}", GUESSER)
        beside: Callable[[], object] = lambda: password(f"user {next(names)}", "secret", HONEST)
        if keys:
            attack = lambda number: target.connect(GUESSER, {"key": f"guess {number}"})
            beside = lambda: target.connect(HONEST, {"key": KEY})
        told(what, *at_once(guesses, attack, beside))  # type: ignore[arg-type]
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
        for what in SERVERS:
            run(what, options.guesses, Path(folder))
        crowd(options.honest, Path(folder))


if __name__ == "__main__":
    main()
