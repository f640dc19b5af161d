"""Files and folders that the server writes to or reads from: whether they are there, and whether it may."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from imageserver import folders
from imageserver.accounts.audit import REMEDY as AUDIT_REMEDY
from imageserver.app.checks.finding import Finding, fails, stops
from imageserver.config.kinds import STANDARD_OUTPUT
from imageserver.config.table import Settings
from imageserver.display.windows import PYTHON
from imageserver.sinks.results_file import REMEDY as RESULTS_REMEDY


def data(settings: Settings) -> Iterator[Finding]:
    """The folder of the server's state, which is made where there is none; much of the server starts without it."""
    if fault := _fault_of_folder(settings.data):
        yield fails(f"--data {settings.data}: nothing can be kept there ({fault}): give a folder that can be written")


def shared(settings: Settings) -> Iterator[Finding]:
    """The folder of several front ends, which nobody makes."""
    folder = settings.shared
    if folder is None:
        return
    if fault := _fault_of_folder(folder) if folder.exists() else os.strerror(errno.ENOENT):
        remedy = "give a folder that is there and can be written"
        yield stops(f"--shared {folder}: pictures cannot be kept there ({fault}): {remedy}")


def written(settings: Settings) -> Iterator[Finding]:
    """Files that lines are added to."""
    for option, path, remedy in (
        ("--results", settings.results, RESULTS_REMEDY),
        ("--audit", settings.audit, AUDIT_REMEDY),
    ):
        if path is not None and path != STANDARD_OUTPUT and (fault := _fault_of_file(path)):
            yield stops(f"{option} {path}: {fault}; {remedy}")


def learnt_from(settings: Settings) -> Iterator[Finding]:
    """What trainings need."""
    for option, path in (("--mnist", settings.mnist), ("--training-data", settings.training_data)):
        if path is not None and not path.exists():
            yield fails(f"{option}: there is no {path}, so trainings that need it are refused until it is there.")


def secrets(settings: Settings) -> Iterator[Finding]:
    """Files with passwords that are read later, at each connection."""
    path = settings.redis_password
    if path is not None and not os.access(path, os.R_OK):
        yield fails(f"--redis-password {path}: it cannot be read, so Redis will not let this front end in.")


def windows(settings: Settings) -> Iterator[Finding]:
    """The environment of the windows."""
    if settings.display and not PYTHON.exists():
        yield fails(f"--display: the environment of the windows is missing: run {folders.ADD_WINDOWS}.")


def _fault_of_folder(folder: Path) -> str:
    """Why nothing can be written to a folder that is there or would be made; "" where nothing is in the way."""
    found = folder
    while not os.path.lexists(found) and found != found.parent:
        found = found.parent
    if not found.is_dir():
        return os.strerror(errno.ENOTDIR)
    return "" if os.access(found, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


def _fault_of_file(path: Path) -> str:
    """Why nothing can be added to a file; "" where nothing is in the way."""
    if path.is_dir():
        return os.strerror(errno.EISDIR)
    if not path.exists():
        return _fault_of_folder(path.parent) if path.parent.exists() else os.strerror(errno.ENOENT)
    return "" if os.access(path, os.W_OK) else os.strerror(errno.EACCES)
