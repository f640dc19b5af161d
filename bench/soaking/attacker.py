"""One attack of `bench/hostile/` on a server that is there, as a program; what it was told comes as a line of JSON.

python bench/soaking/attacker.py NAME PORT TCP_PORT TLS_PORT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from bench.attacks import ATTACKS
from bench.hostile import crowds, pictures
from bench.hostile.target import Target

HOLD = 8.0
"""Seconds for which what never ends is held open here."""


def main() -> None:
    name, port, tcp_port, tls_port = sys.argv[1], *(int(text) for text in sys.argv[2:5])
    crowds.HOLD, pictures.AFTER = HOLD, 0.0
    chosen = ATTACKS[name]
    target = Target(tls_port if chosen.secure else port, tcp_port, guarded=True, secure=chosen.secure)
    try:
        chosen.run(target)
    except (OSError, AssertionError) as error:  # it was refused at its very beginning
        target.seen[type(error).__name__] += 1
    print(json.dumps(target.seen))


if __name__ == "__main__":
    main()
