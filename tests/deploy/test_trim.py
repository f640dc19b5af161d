"""What images leave out of packages: deploy/trim.py on folders like theirs, and on a copy of those that are here."""

from __future__ import annotations

import os
import runpy
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
from tests.running import PATIENCE, ROOT

PROGRAM = ROOT / "deploy" / "trim.py"
TRIMMED = ("openvino", "numpy", "numpy.libs", "tensorflow", "clang")


def trim(packages: Path) -> str:
    done = subprocess.run([sys.executable, PROGRAM, packages], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def made(packages: Path, *names: str) -> None:
    for name in names:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(bytes(1_000_000))


def test_it_takes_what_nothing_loads_and_says_how_much(tmp_path: Path) -> None:
    libraries = "openvino/libs/libopenvino"
    kept = {
        f"{libraries}_{name}.so" for name in ("intel_cpu_plugin", "auto_plugin", "hetero_plugin", "auto_batch_plugin")
    } | {f"{libraries}_{name}_frontend.so.2641" for name in ("ir", "onnx", "tensorflow", "tensorflow_lite")}
    kept |= {f"{libraries}.so.2641", "tensorflow/libtensorflow_cc.so.2", "numpy/_core/core.so", "mine/tests/a.py"}
    gone = {f"{libraries}_intel_gpu_plugin.so", f"{libraries}_pytorch_frontend.so.2641", "openvino/include/a/b.hpp"}
    gone |= {"numpy/_core/tests/test_a.py", "tensorflow/include/c.h", "clang/native/libclang.so"}
    made(tmp_path, *kept, *gone)
    said = trim(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == kept
    assert f"{len(gone):.1f} MB removed, {len(kept):.1f} MB left" in said
    assert "0.0 MB removed" in trim(tmp_path), "where a package brings none of it, as on another machine"


def test_every_row_is_of_a_package_of_the_locks() -> None:
    """A row whose files have another name by now would free nothing, and nobody would notice."""
    found = [Path(folder) for folder in site.getsitepackages()]
    for pattern in runpy.run_path(str(PROGRAM))["UNUSED"]:
        if any((folder / pattern.partition("/")[0]).exists() for folder in found):
            assert any(any(folder.glob(pattern)) for folder in found), pattern


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with trimmed copies of the packages, which sees the others of this one."""
    folder = tmp_path_factory.mktemp("trimmed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for theirs in map(Path, site.getsitepackages()):
        for name in TRIMMED:
            if (theirs / name).exists():
                shutil.copytree(theirs / name, packages / name, copy_function=link)
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    trim(packages)
    return folder


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


SHIPPED = sorted(path.parent.name for path in (ROOT / "models").glob("*/model.toml"))


@pytest.mark.long
@pytest.mark.parametrize("model", SHIPPED)
def test_shipped_models_run_without_it(environment: Path, model: str) -> None:
    """They say the same as with the whole packages."""
    picture = ROOT / "clients/samples/photos/astronaut.jpg"

    def tried(python: Path | str) -> tuple[int, str]:
        words = [python, ROOT / "src/ImageServer.py", "model", "try", model, picture]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout if done.returncode == 0 else done.stderr

    assert tried(environment / "bin" / "python") == tried(sys.executable)
