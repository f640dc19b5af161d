"""Makes `python3 src/…` work: finds the environment that holds the packages, and names this folder `imageserver`.

In the repository the package `imageserver` lies in `src/`, installed it lies in a folder of its name. Every import
reads `imageserver.…` in both, so whatever is started as a file calls `start` first. Programs that the server starts
are run through this file, as `python -P bootstrap.py inference.worker.main …` (`command` writes that line), so they
need no path of their own.

Standard library only, since it runs before anything else can be imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys

ENVIRONMENTS = (".venv", ".venv-gpu", ".venv-slim")
NEEDED = ("argon2", "eventlet", "socketio")
NEEDED_BY: dict[str, tuple[str, ...]] = {"display.process": ()}
"""What stands for all packages of a program with an environment of its own, which says itself what it lacks."""
CONTROL = "--control"
"""Stands among the arguments of the server's children: what a terminal sends to all of them is for the server alone."""
PACKAGE = "imageserver"
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PROJECT = os.path.dirname(_FOLDER)
_MARK = "_IMAGE_SERVER_REEXECUTED"
"""Set across the one exec, so that a broken environment ends in a sentence and not in a circle."""


def start(needed: tuple[str, ...] = NEEDED) -> None:
    """What a program that is run as a file does before its first import of `imageserver`."""
    ensure_environment(needed)
    provide_package()


def ensure_environment(needed: tuple[str, ...] = NEEDED) -> None:
    """Return when this Python has the project's packages (`needed` stands for all); else start over with one that has.

    Does not return in the second case: the process becomes `.venv/bin/python` with the same arguments and options.
    Where no environment exists it ends with one sentence and exit code 2.
    """
    again = os.environ.pop(_MARK, None) is not None
    if all(importlib.util.find_spec(name) is not None for name in needed):
        return
    for name in () if again else ENVIRONMENTS:
        python = os.path.join(_PROJECT, name, "bin", "python")
        if os.access(python, os.X_OK):
            os.environ[_MARK] = "1"
            os.execv(python, [python, *getattr(sys, "orig_argv", ["", *sys.argv])[1:]])
    print(
        f"The packages that this program needs are not installed: run `make run` in {_PROJECT} once.", file=sys.stderr
    )
    sys.exit(2)


def provide_package(*, keep_path: bool = False) -> None:
    """Make this folder importable as the package `imageserver`, whatever it is called on disk.

    The folder itself leaves the path, since `config` or `streams` at the top of somebody's imports could be anybody's;
    with `keep_path` it stays: for a program of somebody else, which put it there to import more than one file of it.
    """
    if not keep_path:
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != os.path.realpath(_FOLDER)]
    if PACKAGE in sys.modules:
        return
    file = os.path.join(_FOLDER, "__init__.py")
    spec = importlib.util.spec_from_file_location(PACKAGE, file, submodule_search_locations=[_FOLDER])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[PACKAGE] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def command(module: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """The command line that runs `main` of a module of the package as a program of its own."""
    return [python, "-P", os.path.join(_FOLDER, "bootstrap.py"), module, *arguments]


def main() -> None:
    """Run `main` of the module that the first argument names, with the rest as its command line."""
    del sys.argv[0]
    if not sys.argv or not os.path.isfile(os.path.join(_FOLDER, *sys.argv[0].split(".")) + ".py"):
        wrong = f"There is no module {sys.argv[0]} in {_FOLDER}. " if sys.argv else ""
        print(
            f"{wrong}Usage: python3 src/bootstrap.py MODULE [ARGUMENT …], as in config.table --markdown",
            file=sys.stderr,
        )
        sys.exit(2)
    if CONTROL in sys.argv:
        for number in (signal.SIGINT, signal.SIGHUP):  # before the imports, which take a second or more
            signal.signal(number, signal.SIG_IGN)
    start(NEEDED_BY.get(sys.argv[0], NEEDED))
    try:
        sys.exit(importlib.import_module(f"{PACKAGE}.{sys.argv[0]}").main())
    except ModuleNotFoundError as error:
        tensorflow = importlib.import_module(f"{PACKAGE}.inference.shared.slim.tensorflow")
        if not tensorflow.is_meant(error):
            raise
        print(tensorflow.lacking(sys.argv[0]), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":  # multiprocessing starts a child of such a program with this file
    provide_package()
