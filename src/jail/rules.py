"""What a jail allows: plain data, made by whoever starts a process and applied by that process itself (entry.py)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True, kw_only=True)
class Jail:
    """The rights of one process. Code, libraries and devices that every process needs are readable beside `read`.

    Args:
        scratch: a folder of its own, its home; whoever starts the process makes and removes it.
        enforced: False: only the environment is scrubbed and new privileges are given up.
        read: files and folders that it may read, with all that is in them.
        write: folders in which it may do everything.
        network: whether it may make sockets. A pair of connected ones, which leads nowhere, it always may.
        connect: with that, the ports that TCP may go to, none may come in by; empty: all. Needs Linux 6.7.
        processes: whether it may start programs.
        memory: bytes of its own memory; 0 is no limit.
        largest_file: bytes that a file may grow to; 0 is no limit.
        open_files: descriptors at a time.
        variables: names of environment variables that pass beside the usual ones; a `*` at the end stands for the rest.
    """

    scratch: str = ""
    enforced: bool = True
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool = False
    connect: tuple[int, ...] = ()
    processes: bool = False
    memory: int = 0
    largest_file: int = 256 * MIB
    open_files: int = 1024
    variables: tuple[str, ...] = ()

    def to_text(self) -> str:
        """For a command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Jail:
        """What `to_text` gave."""
        fields: dict[str, Any] = json.loads(text)
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**(fields | lists))
