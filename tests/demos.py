"""`imageserver demo` as a process, with what it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.running import ROOT, children, until


class Demo:
    """Use as a context, in which the page is at `url`. At the end it is told to end as by Ctrl-C, if it has not.

    Args:
        folder: where it runs, and for what it makes in the folder of temporary files.
        arguments: of its command line, beside those for a free port and no browser.
        command: what is typed for `imageserver`.
        variables: of its environment, beside those of this process.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: tuple[str | Path, ...] = (sys.executable, ROOT / "src" / "ImageServer.py"),
        **variables: str,
    ) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.process = subprocess.Popen(
            [*map(str, command), "demo", "-p", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(self.temporary), **variables},
        )
        self.lines: list[str] = []
        self.url = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(line.rstrip("\n") for line in lines)

    def __enter__(self) -> Demo:
        try:
            self.url = self.wait_for(r"page is at (http://127\.0\.0\.1:\d+)/")[1]
        except AssertionError:
            self.end()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.end()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)

        match: re.Match[str] = until(found, f"a line {pattern!r} in {self.lines}")
        return match

    def processes(self) -> list[int]:
        """Process numbers of the server and of the cameras, in the order of their start."""
        return sorted(children(self.process.pid))

    def end(self, number: int = signal.SIGINT) -> int:
        """Send it a signal, unless it has ended; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(60)
        finally:
            self.process.kill()
            self._reader.join()
        return code
