"""What this system has no means for, and which secrets a jail cannot keep: told once, when the server starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from imageserver.jail import entry, landlock, seccomp
from imageserver.jail.rules import Jail


def lacking() -> list[str]:
    """What jails do not hold here, and why; empty where all is held."""
    found = []
    if not landlock.version():
        found.append("it can read and write the files of the server's user (no Landlock here: Linux 5.13 has it)")
    if not seccomp.available():
        found.append("it can open connections, start programs and signal others (no seccomp here)")
    return found


def exposed(jail: Jail, secrets: Iterable[Path]) -> list[Path]:
    """Those of `secrets` that lie in a folder that the jail lets be read."""
    readable = [Path(path).resolve() for path, _rights in entry.paths(jail)]
    return [secret for secret in secrets if any(secret.resolve().is_relative_to(path) for path in readable)]
