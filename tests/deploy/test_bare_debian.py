"""What the README promises to who has Debian 12 and nothing else: no compiler, no library, no packages of Python.

Each test prints what it took: `make test-long ARGS="-k bare_debian -s"`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.bare import MISSING, Debian
from tests.running import ROOT

import imageserver

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

PATIENCE = 1200.0
SERVER = ("-i", "127.0.0.1", "-p", "0", "--tcp-port", "off")
UP = r"wsgi starting up on (http://127\.0\.0\.1:\d+)"


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    root = tmp_path_factory.mktemp("bare") / "debian"
    made = Debian(root, ("python3", "python3-venv", "make", "ca-certificates", "pipx"))
    assert not list(root.glob("usr/bin/*cc")), "no compiler"
    yield made
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def wheel(debian: Debian, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The wheel as `make wheel` makes it, in the home folder there: its name."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, ROOT], check=True, timeout=PATIENCE)
    (found,) = folder.iterdir()
    shutil.copy(found, debian.home)
    return found.name


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Lines that are printed, whatever pytest keeps to itself."""
    lines: list[str] = []
    yield lines
    with capsys.disabled():
        print("", *lines, sep="\n")


def size(folder: Path) -> str:
    """On disk, as `du -sm` says it."""
    said = subprocess.run(["du", "-sm", folder], capture_output=True, text=True, check=True).stdout
    return f"{said.split()[0]} MiB"


def checkout(debian: Debian) -> Path:
    """What git would clone, as the user's own."""
    target = debian.home / "imageserver"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.strip("\0").split("\0"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    debian.run("chown", "-R", "user:user", "/home/user/imageserver", user="root")
    return target


def streamed(debian: Debian, command: list[str], folder: str, url: str, sample: str, model: str) -> str:
    """What a camera there, started by `command`, says of the answers to the pictures of a sample."""
    return debian.run(*command, f"{folder}/clients/samples/{sample}", "-m", model, "-s", url, timeout=PATIENCE)


@pytest.mark.timeout(4000)
@pytest.mark.parametrize(("how", "model"), [("SLIM=1", "lenet"), ("", "lenet")], ids=["slim", "full"])
def test_a_checkout_runs(debian: Debian, tell: list[str], how: str, model: str) -> None:
    project = checkout(debian)
    command = ["make", "run", *how.split(), f"ARGS={' '.join(SERVER)} --preload {model}"]
    with debian.running(*command, folder="/home/user/imageserver") as server:
        up, match = server.wait_for(UP, PATIENCE)
        ready, _match = server.wait_for(f"^models ready: .*{model}", PATIENCE)
        said = streamed(debian, ["python3", "imageserver/clients/camera.py"], "imageserver", match[1], "digits", model)
    assert "10 sent, 10 answered" in said
    tell.append(f"make run {how}: listens after {up:.0f} s, models ready after {ready:.0f} s; {size(project)} on disk")
    with debian.running(*command, folder="/home/user/imageserver") as server:
        again, _match = server.wait_for(f"^models ready: .*{model}", PATIENCE)
    tell.append(f"make run {how}, the second time: models ready after {again:.1f} s")
    shutil.rmtree(project)


WAYS = {
    "pip": ("{python} -m venv env && env/bin/pip install -q {wheel}", ["env/bin/imageserver"]),
    "pipx": ("pipx install ./{wheel}", [".local/bin/imageserver"]),
    "uv": (
        "{python} -m venv uv && uv/bin/pip install -q uv && uv/bin/uvx --from ./{wheel} imageserver --version",
        ["uv/bin/uvx", "--from", "./{wheel}", "imageserver"],
    ),
}
"""How people install the wheel, and how they start what they have installed."""


@pytest.mark.timeout(4000)
@pytest.mark.parametrize("way", WAYS)
def test_the_wheel_is_installed_by(debian: Debian, wheel: str, tell: list[str], way: str) -> None:
    install, start = WAYS[way]
    began = time.monotonic()
    debian.run("sh", "-ec", install.format(python="python3", wheel=wheel), timeout=PATIENCE)
    took = time.monotonic() - began
    command = [word.format(wheel=wheel) for word in start]
    assert debian.run(*command, "--version").split()[-2:] == ["ImageServer", imageserver.__version__]
    checked = debian.run(*command, "check", "-p", "0", "--tcp-port", "off")
    assert f"ImageServer {imageserver.__version__}: no fault, " in checked
    (package,) = {path.parent for path in debian.home.glob("**/site-packages/imageserver/models")}
    with debian.running(*command, *SERVER) as server:
        ready, _match = server.wait_for("^models ready: faces", PATIENCE)
        url = server.wait_for(UP, PATIENCE)[1][1]
        folder = str(Path("/") / package.relative_to(debian.root))
        said = streamed(debian, [*command, "camera"], folder, url, "photos", "faces")
    assert "4 sent, 4 answered" in said
    assert re.search(r"^astronaut.jpg: face \d", said, re.MULTILINE)
    with debian.running(*command, "demo", "--no-browser", "-p", "0") as demo:
        _moment, first = demo.wait_for(r"The first prediction came after (\S+) s", PATIENCE)
    tell.append(f"{way}: imageserver demo has its first prediction after {first[1]} s")
    environment = package.parents[3]
    tell.append(
        f"{way}: installed in {took:.0f} s, {size(environment)} on disk; models ready {ready:.1f} s after the start"
    )
    for path in debian.home.iterdir():
        if path.name != wheel and path.is_dir():
            shutil.rmtree(path)
