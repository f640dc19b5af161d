"""What a jailed process prints, for which nobody may have room, or be there to read it."""

from __future__ import annotations

import io
import sys
from typing import Any


class _Forgiving(io.FileIO):
    """A descriptor that takes whatever is written: what the disk or a reader who has gone does not take is lost."""

    def write(self, data: Any, /) -> int:
        try:
            taken: int | None = super().write(data)
        except OSError:
            taken = None
        return memoryview(data).nbytes if taken is None else taken  # None: it does not wait for a reader, and is full


def forgive() -> None:
    """Have no line that is printed cost a model its prediction: printing never fails from now on."""
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(_Forgiving(descriptor, "wb", closefd=False)),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        for descriptor in (1, 2)
    )
