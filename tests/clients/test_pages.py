"""The programs of docs/clients/, taken from the pages as they stand there, against a real server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.pages.browser import Browser
from tests.pages.devtools import CHROMIUM
from tests.passwords import CHEAP
from tests.running import ROOT, CheapServer, picture, until

from imageserver.accounts.database import UserDB

PAGES = ROOT / "docs" / "clients"
HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
STAND_IN = HERE / "socketio_stand_in"
OKHTTP = [Path("/usr/share/java") / name for name in ("okhttp.jar", "okio.jar")]
GREY = 128
LABEL = r"label\W+12[789]\b"
"""What the model `echo` says of it, as JSON or as Python prints it; a film's colours differ by one."""


def blocks(page: str, language: str) -> list[str]:
    """The programs of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheapServer]:
    """It asks who somebody is, and knows alice."""
    data = tmp_path_factory.mktemp("data")
    UserDB(data / "users.db", CHEAP).add("alice", "secret")
    with CheapServer("-a", "--cors-origin", "*", data=data) as running:
        yield running


def adapted(program: str, server: CheapServer) -> str:
    """With the address and the model of the test in place of the page's."""
    found = re.sub(r"(https?://)?192\.168\.1\.20:\d+", server.url, program)
    assert found != program
    return found.replace('"faces"', '"echo"')


@contextlib.contextmanager
def started(folder: Path, *command: str | Path, **variables: str) -> Iterator[list[str]]:
    """A program in a folder with picture.jpg; the lines that it prints. It is ended at the end."""
    (folder / "picture.jpg").write_bytes(picture(GREY))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        process.kill()
        process.wait(20)
        reader.join(20)
        process.stdout.close()


def say(lines: list[str], pattern: str, count: int = 1) -> None:
    """Wait for `count` lines that match."""
    try:
        until(lambda: sum(bool(re.search(pattern, line)) for line in list(lines)) >= count, f"{count} times {pattern}")
    except AssertionError as error:
        raise AssertionError(f"{error}; there is {lines}") from None


def test_python_five_lines(server: CheapServer, tmp_path: Path) -> None:
    program = adapted(blocks("python.md", "python")[0], server)
    anonymous, login = f'"{server.url}", ', f'"{server.url}", ("alice", "secret"), '
    assert len(program.strip().splitlines()) == 5
    variables = {"PYTHONPATH": str(ROOT / "clients"), "PYTHONUNBUFFERED": "1"}
    with started(tmp_path, sys.executable, "-c", program.replace(anonymous, login), **variables) as lines:
        say(lines, LABEL)
    with started(tmp_path, sys.executable, "-c", program, **variables) as lines:
        say(lines, r"Refused: The server wants a user's name and password: give login=\(NAME, PASSWORD\)")


def test_python_webcam(server: CheapServer, tmp_path: Path) -> None:
    """A film in place of the webcam."""
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))  # type: ignore[attr-defined]
    for _ in range(20):
        writer.write(np.full((48, 64, 3), GREY, np.uint8))
    writer.release()
    program = adapted(blocks("python.md", "python")[1], server)
    program = program.replace("VideoCapture(0)", 'VideoCapture("film.avi")').replace("tobytes())", "tobytes()); wait()")
    program = "import time\ndef wait(): time.sleep(0.05)\n" + program
    variables = {"PYTHONPATH": str(ROOT / "clients"), "PYTHONUNBUFFERED": "1"}
    with started(tmp_path, sys.executable, "-c", program, **variables) as lines:
        say(lines, LABEL, 3)
    assert any("'camera': 'front door'" in line for line in lines)


@pytest.mark.parametrize(
    ("block", "package"),
    [(0, "socket.io-client"), (0, "socket.io-client-3"), (1, "socket.io-client"), (1, "socket.io-client-2")],
)
def test_node(server: CheapServer, tmp_path: Path, block: int, package: str) -> None:
    node = shutil.which("node")
    if node is None or not (MODULES / package).exists():
        pytest.skip("needs Node and tests/clients/environment.sh")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "socket.io-client").symlink_to(MODULES / package)
    program = tmp_path / ("camera.cjs" if block else "camera.mjs")
    program.write_text(adapted(blocks("javascript.md", "js")[block], server))
    with started(tmp_path, node, program) as lines:
        say(lines, LABEL, 3)


@pytest.mark.long
def test_browser(server: CheapServer, tmp_path: Path) -> None:
    bundle = MODULES / "socket.io-client" / "dist" / "socket.io.min.js"
    if CHROMIUM is None or not bundle.exists():
        pytest.skip("needs Chromium and tests/clients/environment.sh")
    (program,) = blocks("javascript.md", "html")
    (tmp_path / "index.html").write_text(adapted(program, server))
    shutil.copy(bundle, tmp_path)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_anything: object) -> None:
            """Nothing."""

    web = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    serving = threading.Thread(target=web.serve_forever, args=(0.05,))
    serving.start()
    folder = tmp_path / "browser"
    folder.mkdir()
    browser = Browser(folder)
    try:
        with browser.page() as page:
            page.watched.expect("a request elsewhere: ws:", "favicon")
            page.open(f"http://127.0.0.1:{web.server_port}/")
            assert page.until("Number(document.querySelector('#found').textContent)") in range(GREY - 5, GREY + 6)
    finally:
        browser.close()
        web.shutdown()
        serving.join()
        web.server_close()


def compiled(folder: Path, program: str, *others: Path) -> list[str | Path]:
    """The command line of a Java program that is compiled in `folder`."""
    if shutil.which("javac") is None or not all(path.exists() for path in OKHTTP):
        pytest.skip("needs javac and OkHttp (scripts/apt-packages.sh)")
    (folder / "Camera.java").write_text(program)
    path = ":".join(map(str, OKHTTP))
    command = ["javac", "-cp", path, "-d", folder, folder / "Camera.java", *others]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{path}:{folder}", "Camera"]


@pytest.mark.long
def test_java_on_okhttp_alone(server: CheapServer, tmp_path: Path) -> None:
    command = compiled(tmp_path, adapted(blocks("kotlin-java.md", "java")[2], server))
    with started(tmp_path, *command) as lines:
        say(lines, LABEL, 3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("block", "client", "emitter", "generation"),
    [
        (0, "io.socket.client", "io.socket.emitter", 4),
        (1, "com.github.nkzawa.socketio.client", "com.github.nkzawa.emitter", 3),
    ],
)
def test_java_on_a_stand_in_of_socket_io(
    server: CheapServer, tmp_path: Path, block: int, client: str, emitter: str, generation: int
) -> None:
    """The library is not here: what is shown is that the programs fit its interface, and the server."""
    others = []
    for name, package in (("Emitter", emitter), ("IO", client), ("Socket", client)):
        text = (STAND_IN / f"{name}.java").read_text().replace("CLIENT", client).replace("EMITTER", emitter)
        file = tmp_path / package.replace(".", "/") / f"{name}.java"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("= EIO;", f"= {generation};"))
        others.append(file)
    program = adapted(blocks("kotlin-java.md", "java")[block], server)
    with started(tmp_path, *compiled(tmp_path, program, *others)) as lines:
        say(lines, LABEL, 3)


def test_every_program_is_run() -> None:
    """By one of the tests above; the Kotlin says of itself that it is not."""
    found = {page.name: re.findall(r"^```(\w+)$", page.read_text(), re.MULTILINE) for page in PAGES.glob("*.md")}
    assert found == {
        "python.md": ["sh", "python", "python"],
        "javascript.md": ["js", "js", "html"],
        "kotlin-java.md": ["kotlin", "java", "java", "java"],
    }
