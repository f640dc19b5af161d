"""What is printed: a line for each figure, with its mark, and whether it is kept."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime

from tests import postgresql
from tests.nginx import NGINX
from tests.ray_cluster import PYTHON


class Report:
    """Lines of scenes, as they come."""

    def __init__(self) -> None:
        self.broken = 0
        """How many marks were missed."""
        self.scene = ""

    def begin(self, scene: str) -> None:
        """What is said from now on is of that scene."""
        self.scene = scene

    def tell(self, what: str) -> None:
        """A figure without a mark."""
        self._line("", what)

    def most(self, what: str, figure: float, mark: float, unit: str = "") -> None:
        """A figure that is to be no larger than its mark."""
        self._mark(figure <= mark, f"{what}: {_number(figure)}{unit} (at most {mark:g}{unit})")

    def least(self, what: str, figure: float, mark: float, unit: str = "") -> None:
        """A figure that is to be no smaller than its mark."""
        self._mark(figure >= mark, f"{what}: {_number(figure)}{unit} (at least {mark:g}{unit})")

    def failed(self, why: str) -> None:
        """The scene has come to no end."""
        self._mark(False, why)

    def _mark(self, kept: bool, what: str) -> None:
        self.broken += not kept
        self._line("kept" if kept else "BROKEN", what)

    def _line(self, word: str, what: str) -> None:
        print(f"{word:6}  {self.scene}: {what}", flush=True)


def _number(figure: float) -> str:
    return f"{figure:.2f}" if isinstance(figure, float) else str(figure)


def machine() -> list[str]:
    """When, and on what."""
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    with open("/proc/cpuinfo") as file:
        found = re.search(r"model name\s*: (.*)", file.read())
    cpu = found[1] if found else platform.machine()
    return [
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        f"{os.cpu_count()} processors ({cpu}), {memory:.0f} GiB, Linux {platform.release()}",
        "; ".join(map(_version, _programs())),
    ]


def _programs() -> list[list[str]]:
    ray = "import importlib.metadata, platform; print('Ray', importlib.metadata.version('ray'), 'on Python', end=' ')"
    return [
        [str(NGINX), "-v"],
        ["redis-server", "--version"],
        [f"{postgresql._programs()}/postgres", "--version"],
        [str(PYTHON), "-c", f"{ray}; print(platform.python_version())"],
    ]


def _version(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return " ".join((done.stdout + done.stderr).split()[:5])
