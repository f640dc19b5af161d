"""The settings of a program, from everywhere at once: command line, environment, .env files, TOML."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imageserver import __version__, folders
from imageserver.config import command_line, database, effective, shown, sources, together
from imageserver.config.table import INTRO, TABLE, Settings
from imageserver.errors import PrintAsked, SettingError


@dataclass(frozen=True)
class Gathered:
    """What all places together give, wrong or not.

    Args:
        settings: of what is wrong, the default.
        places: where each setting comes from that was given, by its name.
        faults: a sentence for each thing that is wrong.
        remarks: a sentence for what is no fault, but has no effect either.
        doubtful: names of settings whose values nobody knows, because what was given is wrong or cannot be read.
    """

    settings: Settings
    places: Mapping[str, str]
    faults: Sequence[str]
    remarks: Sequence[str]
    doubtful: frozenset[str]


def load(arguments: Sequence[str], warn: Callable[[str], None]) -> Settings:
    """The settings of the server; prints what `arguments` ask for and ends with code 0 when they do. SettingError.

    Other programs see a part of its settings alone, and so cannot say which of them contradict each other.
    """
    try:
        found = read(arguments, os.environ, warn=warn)
    except PrintAsked as asked:
        print(asked, end="")
        sys.exit(0)
    if faults := together.faults(found):
        raise SettingError("\n".join(faults))
    return found


def read(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    project: Path = folders.PROJECT,
    warn: Callable[[str], None] = lambda _sentence: None,
) -> Settings:
    """The settings that command line, environment and files give together.

    Args:
        arguments: the command line without the program's name.
        environment: the variables of the process.
        folder: the current folder, from which relative paths count (those in a file count from the file's folder).
        project: a `.env` is read from `folder` and, weaker, from here.
        warn: told of what is no fault, but has no effect either.

    Raises:
        SettingError: a line for each fault, with place, value and remedy.
        PrintAsked: help, version or the settings themselves are asked for; holds the text.
    """
    found = gather(arguments, environment, folder, project)
    for remark in found.remarks:
        warn(remark)
    if found.faults:
        raise SettingError("\n".join(found.faults))
    if command_line.PRINT_CONFIG in arguments:
        raise PrintAsked(effective.as_toml(TABLE, found.settings, found.places))
    return found.settings


def gather(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    project: Path = folders.PROJECT,
) -> Gathered:
    """What command line, environment and files give, with every fault; arguments as of `read`. PrintAsked."""
    folder = (folder or Path.cwd()).resolve()
    faults: sources.Faults = []
    remarks: list[str] = []
    try:
        typed = command_line.read(TABLE, arguments, folder, faults)
    except PrintAsked as asked:
        raise PrintAsked(_printed(str(asked))) from None
    layers = [
        sources.from_env_file(TABLE, each / ".env", faults, remarks.append) for each in dict.fromkeys((project, folder))
    ]
    layers += [sources.from_environment(TABLE, environment, folder, faults), typed]
    configs = [[given for given in layer if given.setting.name == "config"] for layer in layers]
    config = sources.merge(configs, []).values.get("config")
    unknown: frozenset[str] = frozenset()
    if config is not None:
        of_file = sources.from_toml(TABLE, config, faults)
        layers.insert(0, of_file or [])
        if of_file is None:
            unknown = frozenset(row.name for row in TABLE)
    merged = sources.merge(layers, faults)
    settings = Settings(**{"data": folders.data(environment)} | merged.values)
    for name, sentence in database.SEEN.items():
        if merged.places.get(name) == "command line" and getattr(getattr(settings, name), "has_password", False):
            remarks.append(sentence)
    doubtful = merged.doubtful | (unknown - merged.values.keys())
    return Gathered(settings, merged.places, faults, remarks, doubtful)


def _printed(word: str) -> str:
    if word == "--version":
        return f"ImageServer {__version__}\n"
    if word == "--help-all":
        return shown.usage(TABLE, folders.COMMAND, INTRO, _width())
    return shown.brief(TABLE, folders.COMMAND, INTRO)


def _width() -> int:
    try:
        return max(80, min(140, os.get_terminal_size(sys.stdout.fileno()).columns))
    except (OSError, ValueError):  # not a terminal
        return 100
