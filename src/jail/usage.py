"""What a jailed process has taken, looked at from outside: where no limit of the kernel counts it.

And whether it runs at all: one that somebody has stopped neither answers nor ends.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from imageserver.jail.rules import MIB, Jail

MOST_THREADS = 2000
MOST_FILES = 1000
"""Files and folders in a scratch folder."""
MOST_SCRATCH = 512 * MIB
"""Bytes of all files in a scratch folder."""
STOPPED = "worker-stopped"
"""The label of a process that was stopped."""


class Excess(NamedTuple):
    """What was taken too much of, as a sentence goes on, "" for nothing, and the label of the limit."""

    text: str
    limit: str


def excess(pid: int, jail: Jail, shared: int) -> Excess:
    """What the process `pid` has taken more of than `jail` gives.

    `shared`: bytes of the memory that it shares with the server, which are not its own.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return NOTHING  # it has ended, and whoever waits for it is told
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if fields.get("State", "").split()[:1] == ["T"]:  # by a signal; a debugger's is a small t
        return Excess("was stopped by a signal", STOPPED)
    taken = 1024 * sum(int(fields.get(name, "0").split()[0]) for name in ("RssAnon", "RssShmem"))
    if jail.memory and taken > jail.memory + shared:
        return Excess(f"took {taken / MIB:.0f} MiB of memory", "worker_memory")
    if int(fields.get("Threads", "0")) > MOST_THREADS:
        return Excess(f"began more than {MOST_THREADS} threads", "worker-threads")
    return Excess(found, "worker-scratch") if (found := _scratch(jail.scratch)) else NOTHING


NOTHING = Excess("", "")


def _scratch(folder: str) -> str:
    files = size = 0
    folders = [folder]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if files > MOST_FILES:
                        return f"put more than {MOST_FILES} files into its scratch folder"
                    if size > MOST_SCRATCH:
                        return f"put more than {MOST_SCRATCH // MIB} MiB into its scratch folder"
    except FileNotFoundError:
        return ""  # it removes something just now; the next look sees the rest
    except OSError as error:
        return f"made a scratch folder that cannot be looked through ({error.strerror})"
    return ""
