"""The server of a soak: its users, its models, its options; and what is looked at beside it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from bench.hostile.target import HONEST, MALLORY
from tests.running import ROOT, Server, processes

from imageserver.accounts.database import UserDB

CAMERA, VIEWER, ADMIN = ("camera", "a password of the cameras"), ("viewer", "of the viewers"), ("admin", "of the admin")
ROLES = {CAMERA: ["camera"], VIEWER: ["viewer"], ADMIN: ["admin"], HONEST: ["camera"], MALLORY: ["camera", "viewer"]}
SHIPPED = ("faces", "lenet", "pulse", "blink")
FOR_TESTS = ("chest", "echo")
SOURCES = {"cameras": "127.0.0.2", "elder": "127.0.0.3", "secure": "127.0.0.4", "others": "127.0.0.5"}
"""Where honest clients come from: attackers come from 127.0.0.1, so each has a share of its own."""
UNEXPECTED = re.compile(r"Traceback|Unhandled|Error\b|\bException\b|assert", re.IGNORECASE)


@dataclass(frozen=True)
class Sample:
    """The server's own process at one moment."""

    at: float
    rss: float
    """MB."""
    descriptors: int
    threads: int


@dataclass
class Watch:
    """Looks at a process every few seconds, in a thread."""

    pid: int
    every: float
    samples: list[Sample] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        process = psutil.Process(self.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            while not self._ended.wait(self.every):
                rss = process.memory_info().rss / 1e6
                self.samples.append(Sample(time.monotonic(), rss, process.num_fds(), process.num_threads()))

    def between(self, begun: float, ended: float) -> Sample:
        """The medians of a time."""
        found = [sample for sample in self.samples if begun <= sample.at <= ended]
        if not found:
            return Sample(begun, 0.0, 0, 0)
        return Sample(
            begun,
            median(sample.rss for sample in found),
            round(median(sample.descriptors for sample in found)),
            round(median(sample.threads for sample in found)),
        )


class World:
    """A server with everything on, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        models = folder / "models"
        models.mkdir()
        for source in [*(ROOT / "models" / n for n in SHIPPED), *(ROOT / "tests/models" / n for n in FOR_TESTS)]:
            (models / source.name).symlink_to(source)
        self.picture = ROOT / "clients" / "samples" / "photos" / "astronaut.jpg"
        self._users()
        self.certificate = certificate(folder / "tls")
        cert, key = self.certificate
        options: dict[str, Any] = {
            "--tcp-port": 0, "--https-port": 0, "--cert": cert, "--key": key, "--workers": 2,
            "--preload": "lenet,chest",
            "--session-models": "pulse,blink", "--results": folder / "results.jsonl", "--audit": folder / "audit.jsonl",
            "--mnist": digits(folder), "--training-samples": 128, "--model-timeout": 5,
        }  # fmt: skip
        words = [str(word) for pair in options.items() for word in pair]
        self.server = Server("-a", "--tcp-open", *words, data=self.data, models=models, model="faces")

    def _users(self) -> None:
        users = UserDB(self.data / "users.db")
        for (name, password), roles in ROLES.items():
            users.add(name, password, roles)

    @contextlib.contextmanager
    def running(self) -> Iterator[World]:
        """The server, with its models ready."""
        with self.server:
            self.server.wait_for("^.*models ready: ")
            self.tcp_port = int(self.server.wait_for(r"legacy TCP listening on 127\.0\.0\.1:(\d+)")[1])
            self.tls_port = int(self.server.wait_for(r"https as well, on https://\S+?:(\d+)")[1])
            yield self

    @property
    def pid(self) -> int:
        return self.server.process.pid

    def processes(self, module: str) -> list[int]:
        """Process numbers of the server's processes that run a module, such as `training.job`."""
        return processes(self.server, module)

    def unexpected(self) -> list[str]:
        """Lines of the log that no server should say."""
        return [line for line in list(self.server.lines) if UNEXPECTED.search(line)]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A pair for 127.0.0.1, by openssl, put in place at once over the one that was there."""
    folder.mkdir(exist_ok=True)
    new = [folder / "new-cert.pem", folder / "new-key.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "30", "-subj", "/CN=soak", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-out", str(new[0]), "-keyout", str(new[1])], check=True, capture_output=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    new[1].replace(key)
    new[0].replace(cert)
    return cert, key


def digits(folder: Path) -> Path:
    """A few drawn digits in the form of mnist.npz, for trainings."""
    from imageserver.training.lenet.data import as_mnist
    from imageserver.training.lenet.strokes import draw

    random = np.random.default_rng(0)
    labels = (np.arange(300) % 10).astype(np.uint8)
    pictures = np.stack([as_mnist(draw(int(label), 80, random), random) for label in labels])
    path = folder / "mnist.npz"
    np.savez(path, x_train=pictures[:200], y_train=labels[:200], x_test=pictures[200:], y_test=labels[200:])
    return path
