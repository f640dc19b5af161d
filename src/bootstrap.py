"""Makes `python3 src/…` work with whichever Python people call it: the project's environment holds the packages.

Standard library only, since it runs before anything else can be imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys

ENVIRONMENTS = (".venv", ".venv-gpu")
NEEDED = ("argon2", "eventlet", "socketio")
_MARK = "_IMAGE_SERVER_REEXECUTED"
"""Set across the one exec, so that a broken environment ends in a sentence and not in a circle."""


def ensure_environment(needed: tuple[str, ...] = NEEDED) -> None:
    """Return when this Python has the project's packages (`needed` stands for all); else start over with the one that has.

    Does not return in the second case: the process becomes `.venv/bin/python` with the same arguments and options.
    Where no environment exists it ends with one sentence and exit code 2.
    """
    again = os.environ.pop(_MARK, None) is not None
    if all(importlib.util.find_spec(name) is not None for name in needed):
        return
    project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in () if again else ENVIRONMENTS:
        python = os.path.join(project, name, "bin", "python")
        if os.access(python, os.X_OK):
            os.environ[_MARK] = "1"
            os.execv(python, [python, *getattr(sys, "orig_argv", ["", *sys.argv])[1:]])
    print(f"The packages that this program needs are not installed: run `make run` in {project} once.", file=sys.stderr)
    sys.exit(2)
