"""What became of a model's trainings: `<data>/training/<model>.json`, or the training.json shipped with the model.

It is written at the start of a training and at its end, so that a crash at any moment leaves an honest status.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from imageserver import files
from imageserver.transport import hub


@dataclass
class TrainingRecord:
    """The file holds just this. `datetime` in local time, `accuracy` in percent."""

    accuracy: str = ""
    datetime: str = ""
    note: str = ""
    """What became of a later training that does not serve; "" when the last one does."""
    running_since: str = ""


class TrainingRecords:
    """The records of all models in `folder`; `shipped` gives the folder of a model."""

    def __init__(self, folder: Path, shipped: Callable[[str], Path], log: Callable[[str], None]) -> None:
        self._folder, self._shipped, self._log = folder, shipped, log
        self._mount = files.mount_of(folder)

    def read(self, name: str) -> TrainingRecord:
        """The stored record, or that of the model that serves. A training that the server's end cut short is noted."""
        serving = _read(self._shipped(name) / "training.json")
        record = _read(self._folder / f"{name}.json") or serving or TrainingRecord()
        if begun := record.running_since:
            if serving and serving.datetime >= begun:
                return serving  # the server ended when the new model served, and this was not written yet
            record.running_since = ""
            record.note = f"the training begun at {begun} ended with the server; the model from before serves"
        return record

    def write(self, name: str, record: TrainingRecord) -> None:
        """Keep a record; the log says when that cannot be. The data folder is there before."""
        try:
            hub.in_thread(self._write, name, json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            self._log(f"training of {name}: its status cannot be kept ({error.strerror}): make {self._folder} writable")

    def _write(self, name: str, text: str) -> None:
        files.check_there(self._folder.parent, self._mount)
        self._folder.mkdir(exist_ok=True)
        files.replace(self._folder / f"{name}.json", text.encode())


def _read(path: Path) -> TrainingRecord | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return TrainingRecord(**json.loads(path.read_text("utf-8")))
    return None
