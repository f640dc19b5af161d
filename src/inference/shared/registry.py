"""The models/ folder: which models there are, and what changed since the last look. Nothing is loaded here.

A look lists each folder and asks for times and sizes, of a thousand files of a model at most, so the server can afford
one every two seconds. A manifest that is wrong is reported once for each state of its folder; the last good one stays.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imageserver import files
from imageserver.errors import ManifestError, SettingError
from imageserver.inference.shared import manifest
from imageserver.inference.shared.manifest import Manifest

ADDING, MAKING = ".adding-", ".making-"
"""What folders in the models folder, and versions of a training, are called until they are complete."""

VERSIONS = ".versions"
"""In the preferred folder: a folder for each model with the versions that trainings wrote."""

Fingerprint = tuple[tuple[str, int, int, int], ...]

MOST_ENTRIES, MOST_MODELS = 100_000, 1000
"""In a models folder."""

MOST_FILES = 1000
"""Of a model that are watched, beside its manifest and its model.py."""


@dataclass(frozen=True)
class FolderChange:
    """A folder that is not what it was: its manifest, what is wrong with that, or None where there is none."""

    name: str
    fingerprint: Fingerprint
    manifest: Manifest | str | None


@dataclass(frozen=True)
class Look:
    """What one `look` saw: the names of all folders (None: they cannot be read), and those that changed."""

    names: set[str] | None
    found: list[FolderChange]
    trouble: str


@dataclass
class Changes:
    """What one `scan` found: names of models, and a sentence for each folder that is newly wrong."""

    added: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.errors)


class Registry:
    """The models in a folder; call `scan` first, and then as often as you want to notice changes.

    Args:
        folder: the models folder.
        preferred: a model in it replaces one of the same name in `folder`: trained ones are there. It need not exist.

    Raises:
        SettingError: there is no such folder.
    """

    def __init__(self, folder: Path, preferred: Path | None = None) -> None:
        if not folder.is_dir():
            raise SettingError(f"there is no models folder {str(folder)!r}: give an existing one with --models")
        self.folder = folder.resolve()
        self._preferred = preferred
        self._mount = files.mount_of(preferred or folder)
        self.manifests: dict[str, Manifest] = {}
        """The last good manifest of each model, by name."""
        self.errors: dict[str, str] = {}
        """What is wrong with a folder now, by name; its former manifest, if any, still counts."""
        self._seen: dict[str, Fingerprint] = {}

    def clean(self) -> None:
        """Remove what a command or a training left behind that was killed."""
        files.clean(self.folder, ADDING)
        if self._preferred is not None:
            for version in (self._preferred / VERSIONS).glob("*/*"):
                files.clean(version, MAKING)
                with contextlib.suppress(OSError):  # there is a version in it
                    version.rmdir()

    def scan(self) -> Changes:
        """Look for new, changed and removed models."""
        return self.adopt(self.look())

    def look(self) -> Look:
        """What the folders hold now. Changes nothing here, and may run in a thread while the rest goes on."""
        try:
            folders = _folders(self.folder)
        except OSError as error:
            return Look(None, [], f"{self.folder}: cannot be read: {error.strerror}; the models known so far stay")
        trouble = ""
        if len(folders) > MOST_MODELS:
            trouble = f"{self.folder}: holds {len(folders)} folders; only the first {MOST_MODELS} are looked at"
            folders = {name: folders[name] for name in sorted(folders)[:MOST_MODELS]}
        if self._preferred is not None:
            data = self._preferred.parent
            try:
                files.check_there(data, self._mount)
            except OSError as error:
                if self.manifests:
                    return Look(None, [], f"{data}: {error.strerror}; the models known so far stay")
            with contextlib.suppress(OSError):
                folders |= _folders(self._preferred)
        found = [_find(name, path, self._seen.get(name)) for name, path in sorted(folders.items())]
        return Look(set(folders), [model for model in found if model is not None], trouble)

    def adopt(self, look: Look) -> Changes:
        """Take over what `look` saw."""
        changes = Changes()
        if look.trouble:
            self._fault(changes, "", look.trouble)
        else:
            self.errors.pop("", None)
        for model in look.found:
            self._adopt(changes, model)
        for name in self._seen.keys() - look.names if look.names is not None else ():
            self._forget(changes, name)
        return changes

    def _adopt(self, changes: Changes, model: FolderChange) -> None:
        name, read = model.name, model.manifest
        if read is None:
            # Not a model, or one that is being copied here, or one whose manifest was taken away.
            self._forget(changes, name)
            return
        self._seen[name] = model.fingerprint
        if isinstance(read, str):
            self._fault(changes, name, read)
            return
        self.errors.pop(name, None)
        names = changes.changed if name in self.manifests else changes.added
        names.add(name)
        self.manifests[name] = read

    def _fault(self, changes: Changes, name: str, text: str) -> None:
        if self.errors.get(name) != text:
            self.errors[name] = text
            changes.errors.append(text)

    def _forget(self, changes: Changes, name: str) -> None:
        self._seen.pop(name, None)
        self.errors.pop(name, None)
        if self.manifests.pop(name, None) is not None:
            changes.removed.add(name)


def _folders(folder: Path) -> dict[str, Path]:
    """Folders by name, a link to a folder of the same name resolved, since it may be put elsewhere at any moment.

    OSError: `folder` cannot be read.
    """
    found = {}
    with os.scandir(folder) as listing:
        for entry in itertools.islice(listing, MOST_ENTRIES):
            with contextlib.suppress(OSError, RuntimeError):  # a link that leads to itself
                if entry.name[0] not in "._" and entry.is_dir():
                    real = Path(entry.path).resolve()
                    found[entry.name] = real if real.name == entry.name else Path(entry.path)
    return found


def _find(name: str, folder: Path, seen: Fingerprint | None) -> FolderChange | None:
    """What is in a folder; None when it is what it was."""
    fingerprint = _fingerprint(folder)
    if fingerprint == seen:
        return None
    if not any(entry[0] == manifest.FILE for entry in fingerprint):
        return FolderChange(name, fingerprint, None)
    try:
        return FolderChange(name, fingerprint, manifest.read(folder))
    except ManifestError as error:
        return FolderChange(name, fingerprint, str(error))


def _fingerprint(folder: Path) -> Fingerprint:
    """What changes when a file in the folder does: name, time, size, inode of each."""
    paths = {os.path.join(folder, name) for name in (manifest.FILE, manifest.CODE)}
    paths.update(itertools.islice(_files(folder), MOST_FILES))
    found = []
    for path in paths:
        with contextlib.suppress(OSError):  # one that vanished meanwhile: the next look sees how it ended
            about = os.stat(path)
            found.append((os.path.relpath(path, folder), about.st_mtime_ns, about.st_size, about.st_ino))
    return tuple(sorted(found))


def _files(folder: Path) -> Iterator[str]:
    """What may be part of the model, in it and below; links to folders are not followed."""
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as listing:
            for entry in listing:
                if entry.name[0] == "." or entry.name == "__pycache__":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield entry.path
