"""What `pip wheel .` makes, in an environment of its own: one package `imageserver`, which runs from anywhere."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.demos import Demo
from tests.running import ROOT, Camera, Server, picture

import imageserver


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, so by the hatchling of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", folder]
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", *options, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing in it but the wheel, which sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("installed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    options = ["--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel]
    done = subprocess.run([sys.executable, "-m", "pip", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (packages_of(folder) / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


def packages_of(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def run(environment: Path, folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program of the environment in `folder`, with variables that lead to nothing else."""
    found = {"PATH": os.environ["PATH"], "HOME": str(folder)} | variables
    program = [environment / "bin" / command[0], *command[1:]]
    return subprocess.run(program, cwd=folder, env=found, capture_output=True, text=True, timeout=100)


def test_nothing_but_the_package_is_installed(environment: Path) -> None:
    found = {path.name for path in packages_of(environment).iterdir()} - {"libraries.pth"}
    assert {name.partition("-")[0] for name in found} == {"imageserver"}
    assert found == {"imageserver", f"imageserver-{imageserver.__version__}.dist-info"}
    scripts = {path.name for path in (environment / "bin").iterdir()}
    assert {name for name in scripts if not name.startswith(("python", "activate", "Activate"))} == {"imageserver"}


def test_the_wheel_holds_the_code_and_the_shipped_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {Path(name) for name in archive.namelist()}
    code = [path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    clients = [path for path in (ROOT / "clients").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for name in ("pyproject.toml", "LICENSE"):  # of the other wheel
        clients.remove(ROOT / "clients" / name)
    assert {path for path in found if path.parts[:2] == ("imageserver", "clients")} == {
        Path("imageserver", path.relative_to(ROOT)) for path in clients
    }
    models = [*ROOT.glob("models/*/model.toml"), *ROOT.glob("models/*/*.py"), *ROOT.glob("models/*/*.keras")]
    assert {Path("imageserver", path.relative_to(ROOT / "src")) for path in code} <= found
    assert {Path("imageserver", path.relative_to(ROOT)) for path in models} <= found
    assert not [path for path in found if path.suffix == ".pyc"]


def test_the_source_distribution_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (ROOT / "build" / "typing").mkdir(parents=True, exist_ok=True)  # where `make lint` links to src/
    link = ROOT / "build" / "typing" / "imageserver"
    if not link.is_symlink():
        link.symlink_to("../../src")
    make = [sys.executable, "-m", "hatchling", "build", "-d", tmp_path, "-t"]
    done = subprocess.run([*make, "sdist"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.iterdir()
    with tarfile.open(made) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = [entry for entry in tmp_path.iterdir() if entry.is_dir()]
    done = subprocess.run([*make, "wheel"], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (other,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(other) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())


def test_the_command_helps_itself(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "imageserver", "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  imageserver -p 9000" in done.stdout
    assert "--log-json" in run(environment, tmp_path, "imageserver", "--help-all").stdout
    assert run(environment, tmp_path, "imageserver", "--version").stdout.split() == [
        "ImageServer",
        imageserver.__version__,
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("check", f"ImageServer {imageserver.__version__}: no fault, "),
        ("user list", "No users in "),
        ("camera -h", "usage: imageserver camera "),
        ("demo -h", "usage: imageserver demo "),
        ("xray -h", "usage: imageserver xray "),
        ("model try -h", "usage: imageserver model try "),
    ],
)
def test_its_commands(environment: Path, tmp_path: Path, words: str, said: str) -> None:
    done = run(environment, tmp_path, "imageserver", *words.split(), IMAGESERVER_PORT="0", IMAGESERVER_TCP_PORT="off")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).startswith(said)
    assert not (tmp_path / ".local").exists()


def test_its_data_are_the_users(environment: Path, tmp_path: Path) -> None:
    program = "import os; from imageserver.config import reading; found = reading.read([], os.environ)"
    program += "; print(found.models); print(found.data)"
    models = packages_of(environment) / "imageserver" / "models"
    plain = run(environment, tmp_path, "python", "-c", program).stdout
    assert plain.split() == [str(models), str(tmp_path / ".local/share/imageserver")]
    chosen = run(environment, tmp_path, "python", "-c", program, XDG_DATA_HOME="/srv/data").stdout
    assert chosen.split() == [str(models), "/srv/data/imageserver"]
    relative = run(environment, tmp_path, "python", "-c", program, XDG_DATA_HOME="data").stdout
    assert relative == plain, "the specification: relative paths do not count"


def imports(command: list[str | Path], folder: Path, code: int) -> set[str]:
    """What a program that ends at once imports of ours, and of others by their first name."""
    done = subprocess.run(command, cwd=folder, env={"PYTHONPROFILEIMPORTTIME": "1"}, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return {name if name.startswith("imageserver") else name.partition(".")[0] for name in names}


def test_it_imports_what_the_checkout_imports(environment: Path, tmp_path: Path) -> None:
    python = environment / "bin" / "python"
    installed = imports([python, environment / "bin" / "imageserver", "-p", "x"], tmp_path, 2)
    checkout = imports([python, ROOT / "src" / "ImageServer.py", "-p", "x"], tmp_path, 2)
    assert "imageserver.app.server" in installed
    # The file is `__main__`, and finds its packages first.
    assert checkout - installed == {"bootstrap"}
    assert installed - checkout == {"imageserver", "imageserver.ImageServer"}
    helped = imports([python, environment / "bin" / "imageserver", "-h"], tmp_path, 0)
    assert not helped & {"imageserver.app.server", "eventlet", "shtab"}, "who asks for help need not wait for a server"


class InstalledServer(Server):
    """The installed command."""

    def __init__(self, environment: Path, data: Path) -> None:
        self.command = (environment / "bin" / "imageserver",)
        super().__init__(data=data, models=None, model="faces")


def test_it_serves_a_shipped_model(environment: Path, tmp_path: Path) -> None:
    with InstalledServer(environment, tmp_path) as server:
        server.wait_for("^models ready: faces")
        with Camera(server) as camera:
            assert camera.ask(picture())["label"] == "none"
        workers = [Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in server.workers()]
    bootstrap = packages_of(environment) / "imageserver" / "bootstrap.py"
    assert workers and all(str(bootstrap) in words for words in workers)


@pytest.mark.long
def test_its_demo(environment: Path, tmp_path: Path) -> None:
    with Demo(tmp_path, "--no-browser", command=(environment / "bin" / "imageserver",)) as demo:
        demo.wait_for("first prediction came after")
        demo.wait_for("^Handwriting: ")
        assert demo.end() == 0
    assert not list(demo.temporary.iterdir())
