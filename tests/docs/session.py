"""A reader who types a page from its top to its bottom: into a fresh copy of the project, on a machine of their own.

The machine is a namespace of the kernel (`unshare`): ports 8080 and 50022 are free there, 192.168.1.20 is its address,
no other network can be reached, and nothing that was started outlives it. So what stands on a page is typed as it
stands there. Run as a program, this reads one page, prints what happened, and ends with 1 at the first thing that did
not work:  unshare … python -m tests.docs.session FOLDER PAGE
"""

from __future__ import annotations

import codecs
import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from tests.docs.pages import Block, blocks
from tests.docs.scenes import COPIED, ENDLESS, SCENES, Scene
from tests.docs.uses import PLAYED, Use, use_of
from tests.running import PATIENCE, ROOT, until

MACHINE = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
NETWORK = "ip link set lo up && ip address add 192.168.1.20/24 dev lo && ip route add default dev lo src 192.168.1.20"
COPIES = ["Makefile", "README.md", "pyproject.toml", "LICENSE", "clients", "deploy", "docs", "models", "requirements"]
COPIES += ["scripts", "src"]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
LEFT_OUT = shutil.ignore_patterns("node_modules")
CURL = "silent\nshow-error\nfail-with-body\nmax-time = 60\nretry = 5\nretry-delay = 1\nretry-all-errors\n"
"""What curl does here beside: an error of HTTP is one, and who came too early asks again."""
PROMPT = re.compile(r"(password|once more)[^\n]*: ?$", re.IGNORECASE)
PASSWORD = "secret"
"""What the reader types wherever a password is asked for."""


class Broken(Exception):
    """Something on a page does not work."""


class Terminal:
    """A command in a terminal of its own, with a person before it who knows the password.

    Args:
        command: What is run, by bash.
        folder: Where.
    """

    def __init__(self, command: str, folder: Path) -> None:
        self.command = command
        self._answered = 0
        self._written: list[str] = []
        words = ["setsid", "--ctty", "bash", "-euo", "pipefail", "-c", command]
        self._tty, theirs = pty.openpty()
        self._process = subprocess.Popen(words, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with contextlib.suppress(OSError):  # so a terminal tells that nobody has it open any more
            while data := os.read(self._tty, 65536):
                self._written.append(decoder.decode(data).replace("\r", ""))
                if PROMPT.search(self.text[self._answered :]):
                    self._answered = len(self.text)
                    os.write(self._tty, f"{PASSWORD}\n".encode())

    @property
    def text(self) -> str:
        """What it has printed."""
        return "".join(self._written)

    def status(self) -> int | None:
        """How it ended; None: it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int:
        """Its end."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.command}\ndoes not end within {seconds:g} s:\n{self.text}") from None
        self._reader.join(5)
        return status

    def interrupt(self) -> None:
        """Ctrl-C, and wait for its end."""
        if self.status() is None:
            os.write(self._tty, b"\x03")
        self.wait(PATIENCE)

    def close(self) -> None:
        """Have it ended, whatever it does."""
        if self.status() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        os.close(self._tty)


class Session:
    """The reader of one page.

    Args:
        folder: Becomes the copy of the project.
        scene: What the page's reader has.
    """

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder, self.scene = folder, scene
        self._printed = ""
        self._last = ""
        self._running: list[Terminal] = []
        self._ways = {
            Use.COMMANDS: self._type,
            Use.FILE: self._write,
            Use.PROGRAM: self._run_program,
            Use.OUTPUT: self._compare,
        }

    def play(self, page: Sequence[Block]) -> None:
        """Do what its blocks say, one after another.

        Raises:
            Broken: One did not work.
        """
        try:
            for block in page:
                started = time.monotonic()
                use = use_of(block)
                self._ways[use](block)
                print(f"{time.monotonic() - started:5.1f} s  {use.value}: {block}", flush=True)
            for terminal in self._running:
                terminal.interrupt()
                if "Traceback" in terminal.text:
                    raise Broken(f"{terminal.command}\n{terminal.text}")
        finally:
            for terminal in self._running:
                terminal.close()

    def _write(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._adapted(block.text), encoding="utf-8")

    def _run_program(self, block: Block) -> None:
        (self.folder / "program.py").write_text(self._adapted(block.text), encoding="utf-8")
        self._until_its_end(block, "PYTHONPATH=clients .venv/bin/python program.py")

    def _type(self, block: Block) -> None:
        *others, last = self._adapted(block.text).strip().split("\n")
        stays = [line for line in others if endless(line)]
        if stays:
            raise Broken(f"{block}: nobody comes past {stays[0]!r} in one terminal: end the block there")
        sign = endless(last)
        commands = "\n".join(others if sign else [*others, last])
        if commands.strip():
            self._until_its_end(block, commands)
        if sign:
            self._start(block, last, sign)

    def _until_its_end(self, block: Block, commands: str) -> None:
        terminal = Terminal(commands, self.folder)
        try:
            status = terminal.wait(self.scene.patience)
        finally:
            terminal.close()
        self._last = terminal.text
        self._printed += terminal.text
        if status:
            raise Broken(f"{block} ends with {status}:\n{commands}\n{terminal.text}\n{self._others()}")

    def _start(self, block: Block, line: str, sign: str) -> None:
        """Start what runs until Ctrl-C; what does the same already is stopped first."""
        for terminal in [each for each in self._running if endless(each.command) == sign]:
            terminal.interrupt()
        terminal = Terminal(line, self.folder)
        self._running.append(terminal)
        try:
            until(lambda: re.search(sign, terminal.text) or terminal.status() is not None, sign, self.scene.patience)
        except AssertionError as error:
            raise Broken(f"{block}: {error}\n{terminal.text}\n{self._others()}") from None
        if terminal.status() is not None:
            raise Broken(f"{block} ends with {terminal.status()}:\n{line}\n{terminal.text}")
        if address := re.search(r"wsgi starting up on (https?)://[^\s:]+:(\d+)", terminal.text):
            self._wait_until_ready(f"{address[1]}://127.0.0.1:{address[2]}/health/ready")
        self._last = terminal.text

    def _wait_until_ready(self, url: str) -> None:
        command = ["curl", "-q", "--insecure", "--silent", "--fail", "--output", "/dev/null", url]
        until(lambda: subprocess.run(command, check=False).returncode == 0, f"{url}\n{self._others()}", 120)

    def _compare(self, block: Block) -> None:
        """Every line shown must be among those printed; figures differ, and … stands for anything."""
        shown = [line for line in block.text.strip().split("\n") if line.strip("… ")]
        for line in shown:
            if not re.search(printed(line.strip()), self._last):
                raise Broken(f"{block}: not printed: {line}\nbut:\n{self._last}")

    def _adapted(self, text: str) -> str:
        """With what a reader fills in: what an answer before showed, and what this machine lacks."""
        for written, meant in self.scene.replaced.items():
            text = text.replace(written, meant)
        for written, pattern in COPIED.items():
            if written in text:
                found = re.findall(pattern, self._printed)
                if not found:
                    raise Broken(f"nothing before has printed what {written!r} stands for:\n{self._printed}")
                text = text.replace(written, found[-1])
        return text

    def _others(self) -> str:
        return "\n".join(f"--- meanwhile {each.command}\n{each.text[-3000:]}" for each in self._running)


def printed(line: str) -> str:
    """A pattern for a line that a page shows as printed: figures are others each time, and … is anything."""
    parts = re.split(r"(\d[\d.,]*|…)", line)
    between = [r".*" if part == "…" else r"\d[\d.,]*" for part in parts[1::2]]
    return "".join(re.escape(known) + free for known, free in zip(parts[::2], [*between, ""], strict=True))


def endless(line: str) -> str | None:
    """The sign that a line's program has begun which runs until Ctrl-C; None: it ends by itself."""
    return next((sign for pattern, sign in ENDLESS.items() if re.match(pattern, line.strip())), None)


def furnish(folder: Path, scene: Scene) -> None:
    """Make the copy of the project that a reader has after `make run`, and what the page takes for granted."""
    for name in COPIES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, folder / name)
    environment = folder / ".venv"
    environment.mkdir()
    for path in (ROOT / ".venv").glob("[!.]*"):
        (environment / path.name).symlink_to(path.resolve())
    locks = [f"requirements/{lock.name} {sha256(lock.read_bytes()).hexdigest()}\n" for lock in LOCKS]
    (environment / ".installed").write_text("".join(locks))
    (environment / ".prepared").touch()
    for name, content in scene.brings.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copy(ROOT / content, folder / name)
        else:
            (folder / name).write_text(content, encoding="utf-8")


def environment(folder: Path) -> Iterator[tuple[str, str]]:
    """The variables of the reader's shell."""
    home, programs = folder.parent / "home", folder.parent / "programs"
    home.mkdir()
    programs.mkdir()
    (home / ".curlrc").write_text(CURL)
    (programs / "python3").symlink_to(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]
    command = programs / "imageserver"
    command.write_text(f'#!/bin/sh\nexec {folder}/.venv/bin/python {folder}/src/ImageServer.py "$@"\n')
    command.chmod(0o755)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    yield "PATH", f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    yield "HOME", str(home)
    yield "XDG_CACHE_HOME", cache  # models converted once are so for all
    yield "IMAGESERVER_WORKERS", "1"
    yield "TERM", "xterm"
    yield "COLUMNS", "160"  # a wide terminal: what a program breaks into lines is not compared
    yield "LANG", "C.UTF-8"


def main() -> int:
    """Play one page."""
    folder, page = Path(sys.argv[1]), sys.argv[2]
    subprocess.run(NETWORK, shell=True, check=True)  # noqa: S602 - a sentence of ours
    scene = SCENES[page]
    furnish(folder, scene)
    variables = dict(environment(folder))
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    subprocess.run(f"set -e\n{scene.before}", shell=True, check=True, cwd=folder)  # noqa: S602 - of our table
    try:
        Session(folder, scene).play([block for block in blocks(page) if use_of(block) in PLAYED])
    except (Broken, AssertionError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
