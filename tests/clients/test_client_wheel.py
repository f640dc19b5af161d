"""The wheel of the clients' library: what is in it, and that it works where nothing else is."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from tests.clients.test_library import JPEG, StandIn
from tests.running import ROOT

import imageserver

LIBRARY = ROOT / "clients" / "imageserver_client"
SCRIPT = """
from imageserver_client import Camera
with Camera("{address}", model="digits") as camera:
    camera.send(open("picture.jpg", "rb").read())
    print(next(iter(camera)).prediction["label"])
"""
TYPED = """
from imageserver_client import Camera, Result
with Camera("a", ("b", "c"), hz=1, on_result=lambda result: print(result.number)) as camera:
    number: int = camera.send(b"")
    newest: Result | None = camera.latest
    for result in camera:
        found: dict[str, object] | None = result.prediction
    camera.send("a text")
"""


def built(source: Path, folder: Path) -> Path:
    """The wheel as `make wheel` builds it, without a network."""
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", folder]
    command = [sys.executable, "-m", "pip", "wheel", *options, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT / "clients", tmp_path_factory.mktemp("wheel"))


def test_it_holds_the_library_alone_in_the_servers_version(wheel: Path) -> None:
    assert wheel.name == f"imageserver_client-{imageserver.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (terms,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
        (about,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    library = {f"imageserver_client/{path.name}" for path in LIBRARY.iterdir() if path.is_file()}
    assert names == library
    assert terms == (ROOT / "LICENSE").read_text()
    assert "imageserver_client/py.typed" in names
    wanted = re.findall(r"^Requires-Dist: ([\w-]+)", about, re.MULTILINE)
    assert wanted == ["python-socketio", "websocket-client"]


def test_one_built_from_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path / "source"]
    subprocess.run(command, cwd=ROOT / "clients", capture_output=True, timeout=100, check=True)
    (source,) = (tmp_path / "source").iterdir()
    again = built(source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(again) as other:
        assert sorted(archive.namelist()) == sorted(other.namelist())


def test_make_builds_both() -> None:
    done = subprocess.run(["make", "-n", "wheel"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(
        r"pip .*wheel .*--no-index.*--wheel-dir build/wheels \. \./clients$", done.stdout, re.MULTILINE | re.DOTALL
    )


def closure(*names: str) -> Iterator[metadata.Distribution]:
    """Installed packages and what they need, without extras."""
    found: dict[str, metadata.Distribution] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = metadata.distribution(name)
            lines = [line for line in found[name].requires or () if "extra ==" not in line]
            todo += [match[0] for line in lines if (match := re.match(r"[\w.-]+", line))]
    yield from found.values()


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but the wheel and what it says it needs."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=100)
    python = folder / "bin" / "python"
    options = ["--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel]
    subprocess.run([sys.executable, "-m", "pip", *options], check=True, timeout=100)
    (packages,) = folder.glob("lib/python*/site-packages")
    for package in closure("python-socketio", "websocket-client"):
        for top in {file.parts[0] for file in package.files or () if file.parts[0] != ".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(package.locate_file(top))))
    return python


@pytest.mark.long
def test_five_lines_stream(bare: Path, tmp_path: Path) -> None:
    server = StandIn()
    (tmp_path / "picture.jpg").write_bytes(JPEG)
    try:
        command = [bare, "-c", SCRIPT.format(address=server.address)]
        done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60)
    finally:
        server.stop()
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


@pytest.mark.long
def test_its_types_are_seen(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", bare, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1 and 'incompatible type "str"; expected "bytes"' in errors[0], done.stdout
