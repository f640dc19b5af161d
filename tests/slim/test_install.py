"""Whole installations from the registry: what they download and take, and that each runs what it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.running import ROOT
from tests.slim.test_slim import EVERY_MODEL

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

OF_THE_ENVIRONMENT = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
MOST_MB = 520


def do(words: Sequence[str | Path], folder: Path = ROOT) -> str:
    done = subprocess.run(list(words), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def megabytes(*paths: Path) -> int:
    return int(do(["du", "-smc", *paths]).splitlines()[-1].split()[0])


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean clone: what git knows of, and nothing else."""
    folder = tmp_path_factory.mktemp("clone")
    files = do(["git", "ls-files", "-z"]).split("\0")[:-1]
    do(["tar", "-cf", folder / "all.tar", *files])
    do(["tar", "-xf", "all.tar"], folder)
    (folder / "all.tar").unlink()
    return folder


def answers(python: Path, source: Path, home: Path) -> set[str]:
    """The models that answer; for it nothing is converted that needs TensorFlow."""
    names = sorted(path.parent.name for path in ROOT.glob("models/*/model.toml"))
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    words = [python, "-c", EVERY_MODEL, source, *names]
    done = subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    converted = {path.name.rpartition("-")[0] for path in (home / ".cache" / "imageserver").glob("*-*")}
    assert converted <= {"shapes"}, "a network in a file is read by OpenVINO alone"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {name for name, *_rest in rows} == set(names)
    return {name for name, _answer, runtime in rows if runtime != "none"}


def stated(lock: str) -> int:
    """The megabytes on disk that the installation says before it begins."""
    rows = [line.split() for line in (ROOT / "requirements" / "sizes.txt").read_text().splitlines()]
    return next(int(row[2]) for row in rows if row[0] == lock)


def test_slim_in_a_clean_clone(copy: Path, tmp_path: Path) -> None:
    said = do(["make", "environment", "SLIM=1"], copy)
    assert f"takes {stated('slim')} MB on disk" in said
    taken = megabytes(copy / ".venv-slim")
    assert taken < MOST_MB
    assert taken == pytest.approx(stated("slim"), rel=0.05)
    everything = {path.parent.name for path in ROOT.glob("models/*/model.toml")}
    assert answers(copy / ".venv-slim/bin/python", copy / "src", tmp_path) >= everything - {"mobilenet"}


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_plain_package(kind: str, tmp_path: Path) -> None:
    do([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", tmp_path / "dist"])
    (made,) = (tmp_path / "dist").iterdir()
    do([sys.executable, "-m", "venv", tmp_path / "env"])
    do([tmp_path / "env/bin/pip", "install", "--quiet", made], tmp_path)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    ours = [path for path in packages.iterdir() if not path.name.startswith(OF_THE_ENVIRONMENT)]
    assert megabytes(*ours) < MOST_MB
    everything = {path.parent.name for path in ROOT.glob("models/*/model.toml")}
    assert answers(tmp_path / "env/bin/python", packages / "imageserver", tmp_path) >= everything - {"mobilenet"}
    said = do([tmp_path / "env/bin/imageserver", "check"], tmp_path)
    assert "no TensorFlow (`pip install 'imageserver[tensorflow]'` adds it)" in said


def test_the_full_one_takes_what_it_says(copy: Path) -> None:
    do(["make", "environment"], copy)
    assert megabytes(copy / ".venv") == pytest.approx(stated("run"), rel=0.05)
