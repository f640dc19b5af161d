"""bootstrap.ensure_environment with real interpreters: one without packages, and a project folder of our own."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "bootstrap.py"
BARE = [sys.executable, "-S", "-E"]  # -S: no site-packages, like a system's Python


@pytest.fixture
def project(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/bootstrap.py").write_text(SOURCE.read_text())
    (tmp_path / "src/program.py").write_text(
        "import bootstrap\nbootstrap.ensure_environment()\nimport sys, os\n"
        "print(sys.argv[1:], 'eventlet' in sys.modules, '_IMAGE_SERVER_REEXECUTED' in os.environ)\n"
    )
    return tmp_path


def environment(project, name, line):
    python = project / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{line}\n")
    python.chmod(0o755)


def run(project, *command):
    return subprocess.run([*command], cwd=project.parent, capture_output=True, text=True, timeout=60)


def test_packages_present(project):
    done = run(project, sys.executable, project / "src/program.py", "-a", "b c")
    assert (done.returncode, done.stdout) == (0, "['-a', 'b c'] False False\n"), done.stderr


def test_reexecutes_with_the_environment_and_the_same_arguments(project):
    environment(project, ".venv", 'echo "$0" "$@"')
    done = run(project, *BARE, project / "src/program.py", "-p", "0", "")
    assert done.returncode == 0
    assert done.stdout == f"{project}/.venv/bin/python -S -E {project}/src/program.py -p 0 \n"


def test_the_gpu_environment_serves_when_it_is_the_only_one(project):
    environment(project, ".venv-gpu", "echo gpu")
    assert run(project, *BARE, project / "src/program.py").stdout == "gpu\n"


def test_no_environment(project):
    done = run(project, *BARE, project / "src/program.py")
    assert done.returncode == 2
    assert done.stderr == f"The packages that this program needs are not installed: run `make run` in {project} once.\n"


def test_an_environment_without_the_packages_is_tried_once(project):
    environment(project, ".venv", f'exec {sys.executable} "$@"')  # -S goes along, so it is as bare
    done = run(project, *BARE, project / "src/program.py")
    assert done.returncode == 2
    assert "make run" in done.stderr
