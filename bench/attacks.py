"""Attack a server of this tree, or of another one, and tell what that does to it.

    python bench/attacks.py [names | jsonp | emoji | …] [--tree FOLDER] [--open] [--check]

Each attack gets a server of its own, started with `-a` and two users, the attacker is nobody (or, where only users
come so far, one of the two); `--open` starts it without `-a`. A probe in a process of its own asks the server
meanwhile. Told are: for how long the loop was held at worst, how much memory the server's process took at its peak,
and what the attacker saw. Without names, all of them run, one after the other: about ten minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

from bench.hostile import bodies, crowds, lists, pictures, texts
from bench.hostile.target import ATTACKS, Outcome, served

KINDS = (texts, bodies, crowds, lists, pictures)
"""Modules whose attacks are in the table."""
MOST_HELD, MOST_MEMORY = 0.05, 150.0
"""Seconds and MB that an attack may cost, for `--check`."""


def missed(outcome: Outcome) -> list[str]:
    """Which marks an attack misses."""
    found = []
    if outcome.held > MOST_HELD:
        found.append(f"the loop was held for {outcome.held * 1e3:.0f} ms, {MOST_HELD * 1e3:.0f} is the mark")
    if outcome.grown > MOST_MEMORY:
        found.append(f"{outcome.grown:.0f} MB more, {MOST_MEMORY:.0f} is the mark")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which attacks: " + ", ".join(ATTACKS))
    parser.add_argument("--tree", type=Path, default=ROOT, help="the server of another tree")
    parser.add_argument("--open", action="store_true", help="without -a")
    parser.add_argument("--check", action="store_true", help="fail when a mark is missed")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in ATTACKS]:
        parser.error(f"there is no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}")
    failed = False
    for name in options.names or ATTACKS:
        chosen = ATTACKS[name]
        print(f"{name}: {chosen.sentence}", flush=True)
        with served(options.tree.resolve(), chosen, not options.open) as target:
            outcome = target.suffer(chosen)
        print(f"    {outcome}", flush=True)
        for sentence in missed(outcome):
            print(f"    missed: {sentence}", flush=True)
            failed = True
    return 1 if options.check and failed else 0


if __name__ == "__main__":
    sys.exit(main())
