"""The models/ folder: which models there are, and what changed since the last look. Nothing is loaded here.

A look is one directory listing and a `stat` for each file directly in a model's folder, so the server can afford
one every two seconds. A manifest that is wrong is reported once for each state of its folder; the last good one stays.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from imageserver.errors import ManifestError, SettingError
from imageserver.inference.shared import manifest
from imageserver.inference.shared.manifest import Manifest

Fingerprint = tuple[tuple[str, int, int, int], ...]


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
        self.manifests: dict[str, Manifest] = {}
        """The last good manifest of each model, by name."""
        self.errors: dict[str, str] = {}
        """What is wrong with a folder now, by name; its former manifest, if any, still counts."""
        self._seen: dict[str, Fingerprint] = {}

    def scan(self) -> Changes:
        """Look for new, changed and removed models."""
        changes = Changes()
        try:
            folders = _folders(self.folder)
        except OSError as error:
            self._fault(changes, "", f"{self.folder}: cannot be read: {error.strerror}; the models known so far stay")
            return changes
        if self._preferred is not None:
            with contextlib.suppress(OSError):
                folders |= _folders(self._preferred)
        self.errors.pop("", None)
        for name, path in sorted(folders.items()):
            self._look(changes, name, path)
        for name in self._seen.keys() - folders.keys():
            self._forget(changes, name)
        return changes

    def _look(self, changes: Changes, name: str, folder: Path) -> None:
        fingerprint = _fingerprint(folder)
        if fingerprint == self._seen.get(name):
            return
        if not any(entry[0] == manifest.FILE for entry in fingerprint):
            # Not a model, or one that is being copied here, or one whose manifest was taken away.
            self._forget(changes, name)
            return
        self._seen[name] = fingerprint
        try:
            read = manifest.read(folder)
        except ManifestError as error:
            self._fault(changes, name, str(error))
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
    for entry in os.scandir(folder):
        if entry.name[0] not in "._" and entry.is_dir():
            real = Path(entry.path).resolve()
            found[entry.name] = real if real.name == entry.name else Path(entry.path)
    return found


def _fingerprint(folder: Path) -> Fingerprint:
    """What changes when a file in the folder does: name, time, size, inode of each."""
    found = []
    try:
        for entry in os.scandir(folder):
            if entry.name[0] == "." or entry.name == "__pycache__":
                continue
            about = entry.stat()
            found.append((entry.name, about.st_mtime_ns, about.st_size, about.st_ino))
    except OSError:
        pass  # a file or folder that vanished meanwhile: the next look sees how it ended
    return tuple(sorted(found))
