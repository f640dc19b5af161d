"""The cache of converted models: where a model is as OpenVINO takes it, if it has been made. Standard library only.

An entry is a folder `<model>-<key>` with model.xml, model.bin and report.json. The key is a hash of everything that
the conversion depends on, and the report holds it with the hashes of the other files: an entry that somebody or
something has changed is found when it is to be loaded, thrown away and made anew. Entries appear by a rename, when
the disk holds them: whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from imageserver import files
from imageserver.errors import ModelError
from imageserver.inference.shared import weights
from imageserver.inference.shared.manifest import Manifest

FORMAT = 3
"""Raise it when the conversion itself changes."""

LIMIT = 900.0
"""Seconds that the conversion of one model may take."""

KEPT = 4
"""Entries of one model that stay: a few, because two versions of the project may share the cache."""

MOST_CODE_FILES = 1000
"""Python files in a model's folder; one that holds more holds something else than a model's code."""

MODEL, WEIGHTS, REPORT = "model.xml", "model.bin", "report.json"
REPORT_BYTES = 2**16

Note = Callable[[str], None]
"""Takes a sentence for whoever reads the log."""


@dataclass(frozen=True)
class Report:
    """How the converted model compared with the original on the probe pictures."""

    good: bool
    reason: str  # a sentence when not good
    difference: float  # the largest, of scores


@dataclass(frozen=True)
class Entry:
    folder: Path
    report: Report

    @property
    def model(self) -> Path:
        return self.folder / MODEL


def cache_folder() -> Path:
    """The default: $XDG_CACHE_HOME/imageserver, or ~/.cache/imageserver."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "imageserver"


def key(manifest: Manifest, weights_digest: str) -> str:
    """Hexadecimal. Two models with the same key convert to the same thing.

    Raises:
        ModelError: the folder holds more code than a model has.
        OSError: its code cannot be read.
    """
    wanted = manifest.input
    parts = [
        str(FORMAT),
        weights_digest,
        code_digest(manifest.folder),
        str((wanted.width, wanted.height, wanted.channels, wanted.range, wanted.mean, wanted.std, wanted.layout)),
        str((wanted.name, wanted.constants, manifest.output.name, manifest.kind)),
        manifest.runtime.precision,
        manifest.output.activation,
        f"openvino {_version('openvino')}",  # TensorFlow need not be there to run what it has made
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def code_digest(folder: Path) -> str:
    """Hexadecimal, of every Python file in the model's folder. ModelError, OSError."""
    return weights.digest_of_files(folder, _code_files(folder))


def _code_files(folder: Path) -> list[Path]:
    """Every Python file in the model's folder and below: model.py may import any of them to build the network."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        found += [Path(parent, name) for name in names if name.endswith(".py")]
        if len(found) > MOST_CODE_FILES:
            raise ModelError(
                f"the folder of the model {folder.name!r} holds more than {MOST_CODE_FILES} Python files: "
                "move those that are not the model's own elsewhere"
            )
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def entry_folder(cache: Path, manifest: Manifest, weights_digest: str) -> Path:
    """Where the entry is, or would be. Raises what `key` raises."""
    return cache / f"{manifest.name}-{key(manifest, weights_digest)}"


def find(folder: Path, note: Note) -> Entry | None:
    """The entry in `folder`, as it was made; None when there is none.

    One that is damaged, or not of this key, is thrown away, and `note` is told.

    Raises:
        ModelError: the cache belongs to somebody else, or everybody may write into it.
    """
    check_owner(folder.parent)
    if not os.path.lexists(folder):
        return None
    try:
        return _read(folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        note(f"the converted model {folder.name} in the cache is damaged and thrown away: {str(reason)[:200]}")
        remove(folder)
        return None


def check_owner(cache: Path) -> None:
    """Whoever can write there says what the server runs; root reads what it likes from anybody, as in a container.

    ModelError: others can.
    """
    try:
        about = cache.stat()
    except OSError:
        return  # there is none yet
    mine = os.geteuid()
    if about.st_mode & stat.S_IWOTH or (mine != 0 and about.st_uid not in (0, mine)):
        raise ModelError(
            "the cache of converted models can be written by other users: take that right away from them, "
            "or name another folder by --models-cache"
        )


def _read(folder: Path) -> Entry:
    """ValueError, KeyError, TypeError or OSError for what is not as it was made."""
    names = {entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)}
    about = json.loads(files.read(folder / REPORT, REPORT_BYTES))
    made_from, digests = about.pop("key"), about.pop("files")
    report = Report(**about)
    if folder.is_symlink() or not folder.name.endswith(f"-{made_from}"):
        raise ValueError("it is another model's")
    if names != {REPORT, *digests} or (report.good and MODEL not in names):
        raise ValueError(f"it holds {', '.join(sorted(names))[:100]}")
    for name, digest in digests.items():
        if weights.sha256(folder / name) != digest:
            raise ValueError(f"{name} is not what was written")
    return Entry(folder, report)


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes the entry `folder` when the block ends well.

    OSError: the cache cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with files.making(folder.parent, ".making-") as parent:
        made = parent / folder.name
        made.mkdir()
        yield made
        files.publish(made, folder)


def write_report(folder: Path, report: Report) -> None:
    """Seal the folder of `making`, with the hashes of what is in it."""
    digests = {name: weights.sha256(folder / name) for name in (MODEL, WEIGHTS) if (folder / name).is_file()}
    about = {"key": folder.name.rpartition("-")[2], "files": digests, **asdict(report)}
    (folder / REPORT).write_text(json.dumps(about), "utf-8")


def remove(folder: Path) -> None:
    """Take an entry away, as far as this process may. A worker that has it open keeps it."""
    if folder.is_symlink():
        with contextlib.suppress(OSError):
            folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def prune(cache: Path, name: str, used: Path | None = None) -> None:
    """Remove all but the newest entries of the model `name`, and `used`: where the clock was set back it looks old."""
    length = len(name) + 1 + 24
    entries = [entry for entry in cache.glob(f"{name}-*") if len(entry.name) == length and entry.is_dir()]
    entries.sort(key=lambda entry: (entry == used, entry.stat().st_mtime), reverse=True)
    for entry in entries[KEPT:]:
        remove(entry)


def take_over(room: Path, cache: Path, name: str) -> None:
    """Put what a conversion of the model `name` has made in `room` into the cache. OSError: it is no entry of it."""
    made = None
    for entry in room.iterdir():
        if entry.name.startswith("."):
            continue  # its lock
        named = re.fullmatch(re.escape(name) + "-[0-9a-f]{24}", entry.name)
        if not named or not entry.is_dir() or entry.is_symlink() or not all(map(_is_plain, entry.iterdir())):
            raise OSError(errno.EINVAL, f"the conversion of {name} made something else")
        made = cache / entry.name
        files.publish(entry, made)
    prune(cache, name, made)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
