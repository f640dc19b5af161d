"""What is expensive to make and only read, made once for all workers of a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name`, which `make` has filled: here, or in another worker of this run.

    Args:
        factory: pytest's `tmp_path_factory`.
        name: of the folder; the same in all workers.
        make: fills the folder given; called once. Where it fails, the next worker tries again.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with open(folder.with_suffix(".lock"), "a+") as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        record.seek(0)
        if record.read() != "made":
            make(folder)
            record.write("made")
    return folder
