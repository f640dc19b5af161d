"""A server whose wall clock a test moves, while the machine's own stays as it is.

with WallClock(tmp_path) as wall, wall.server("-a", data=data) as server:
    wall.jump(3600)
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

from tests.running import FrontDoor, Server

SOURCE = Path(__file__).with_name("wall.c")


class WallClock:
    """Seconds that the wall clock of its servers is ahead of the machine's; `folder` holds what that takes."""

    def __init__(self, folder: Path) -> None:
        self._library, self._file = folder / "wall.so", folder / "ahead"
        self.set(0)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE], check=True)

    def set(self, ahead: int) -> None:
        """Let the clock be so many seconds ahead from now on."""
        self.ahead = ahead
        mode = "r+b" if self._file.exists() else "wb"
        with self._file.open(mode, buffering=0) as file:  # in place: it is mapped into memory
            file.write(struct.pack("l", ahead))

    def jump(self, seconds: int) -> None:
        """Let the clock jump."""
        self.set(self.ahead + seconds)

    def server(self, *arguments: str, **more: Any) -> Server:
        """A server with this clock; use as a context. Its workers have the machine's."""
        environment = {"LD_PRELOAD": str(self._library), "WALL_CLOCK": str(self._file)}
        with mock.patch.dict(os.environ, environment):
            return FrontDoor(*arguments, **more)
