"""A screen without a monitor (Xvfb), and what is on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """An X server of its own; its name for DISPLAY."""
    read, write = os.pipe()
    process = subprocess.Popen(
        # Without -noreset it begins anew, and drops who is just connecting, whenever its last client has left.
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=(write,),
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            name = f":{pipe.readline().strip()}"
        yield name
    finally:
        process.terminate()
        process.wait()


def titles(name: str = "") -> set[str]:
    """The names of the windows on the screen `name`, by default that of DISPLAY."""
    environment = {**os.environ, "DISPLAY": name} if name else None

    def xdotool(*arguments: str) -> str:
        command = ["xdotool", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout

    found = xdotool("search", "--onlyvisible", "--name", ".").split()
    return {xdotool("getwindowname", each).strip() for each in found} - {""}
