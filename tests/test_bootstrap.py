"""bootstrap.py in fresh processes: with real interpreters, one of them without packages, and in a small project."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "bootstrap.py"
BARE = [sys.executable, "-S", "-E"]  # -S: no site-packages, like a system's Python


JOBS = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def work(number):
    import imageserver.config
    return number * 2, __name__, imageserver.config.NAME

def main():
    print(sys.argv)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        print(*pool.map(work, [1, 2]))
    return 7
"""


@pytest.fixture
def project(tmp_path):
    """A checkout: two modules of the package and a program."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/__init__.py").write_text("")
    (tmp_path / "src/config.py").write_text("NAME = 'ours'\n")
    (tmp_path / "src/jobs.py").write_text(JOBS)
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


PROVIDE = """
import sys
sys.path.insert(0, sys.argv[1])
import bootstrap
bootstrap.provide_package()
import imageserver
bootstrap.provide_package()
import imageserver.config
assert sys.modules["imageserver"] is imageserver
assert imageserver.__path__ == [sys.argv[1]], imageserver.__path__
assert imageserver.config.NAME == "ours"
assert sys.argv[1] not in sys.path
try:
    import config
except ModuleNotFoundError:
    print("provided")
"""


def test_the_folder_becomes_the_package_and_leaves_the_path(project):
    done = run(project, sys.executable, "-c", PROVIDE, str(project / "src"))
    assert (done.returncode, done.stdout) == (0, "provided\n"), done.stderr


def test_an_installed_package_stays_what_it_is(project):
    elsewhere = project / "site" / "imageserver"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").write_text("NAME = 'installed'\n")
    program = (
        f"import sys; sys.path[:0] = [{str(project / 'src')!r}, {str(elsewhere.parent)!r}]\n"
        "import imageserver, bootstrap; bootstrap.provide_package()\n"
        "import imageserver; print(imageserver.NAME)\n"
    )
    done = run(project, sys.executable, "-c", program)
    assert (done.returncode, done.stdout) == (0, "installed\n"), done.stderr


def test_a_program_that_starts_has_packages_and_package(project):
    (project / "src/program.py").write_text(
        "import bootstrap\nbootstrap.start()\nfrom imageserver.config import NAME\nprint(NAME)\n"
    )
    assert run(project, sys.executable, project / "src/program.py").stdout == "ours\n"
    done = run(project, *BARE, project / "src/program.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "make run" in done.stderr


def test_a_module_is_run_as_a_program_with_children_by_spawn(project, tmp_path_factory):
    """From a folder whose files have the names of ours; training.xray.training has such children."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("config", "jobs", "imageserver", "bootstrap"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('the wrong file')\n")
    write = "import sys; sys.path.insert(0, sys.argv[1]); import bootstrap; print(bootstrap.command('jobs', '-a', 'b'))"
    command = ast.literal_eval(run(project, sys.executable, "-c", write, str(project / "src")).stdout)
    assert command == [sys.executable, "-P", str(project / "src/bootstrap.py"), "jobs", "-a", "b"]
    for words in (command, [sys.executable, project / "src/bootstrap.py", "jobs", "-a", "b"]):
        done = subprocess.run(words, cwd=elsewhere, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (7, "")
        assert done.stdout.splitlines() == [
            "['jobs', '-a', 'b']",
            "(2, 'imageserver.jobs', 'ours') (4, 'imageserver.jobs', 'ours')",
        ]


@pytest.mark.parametrize(("words", "taken"), [(["--control", "3"], False), ([], True)])
def test_ctrl_c_is_for_the_server_alone_while_its_children_import(project, words, taken):
    (project / "src/child.py").write_text(
        "import signal\nprint(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)\nmain = int\n"
    )
    command = [sys.executable, "-P", project / "src/bootstrap.py", "child", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (f"{taken}\n", 0), done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"), [((), ""), (("absent.module",), "There is no module absent.module in {folder}. ")]
)
def test_without_a_module_it_says_how_it_is_used(project, words, sentence):
    done = run(project, sys.executable, project / "src/bootstrap.py", *words)
    assert done.returncode == 2
    usage = "Usage: python3 src/bootstrap.py MODULE [ARGUMENT …], as in config.table --markdown\n"
    assert done.stderr == sentence.format(folder=project / "src") + usage
