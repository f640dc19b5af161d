"""The commands of the Makefile, in a copy of it whose environment and server are stand-ins; and the lock files."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SERVER = """
import signal, sys, time
def stop(number, frame):
    signal.signal(number, signal.SIG_IGN)  # make passes SIGTERM on, even to who had it already
    print("stopped by", signal.Signals(number).name, flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
print("up", *sys.argv[1:], flush=True)
if "--wrong" in sys.argv:
    sys.exit(2)
time.sleep(100)
"""


LATE = "make: *** wait: No child processes.  Stop.\n"
"""What GNU make says when the child, who had the signal too, has ended before make's handler waits for it."""


@pytest.fixture
def project(tmp_path):
    """A folder with the Makefile, a .venv that counts as installed, and a server that only prints."""
    for name in ("Makefile", "scripts", "requirements"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "src/inference").mkdir(parents=True)
    (tmp_path / "src/ImageServer.py").write_text(SERVER)
    (tmp_path / "src/inference/prepare.py").write_text("print('preparing', flush=True)")
    (tmp_path / "models/lenet").mkdir(parents=True)
    (tmp_path / "models/lenet/model.toml").write_text("")
    install(tmp_path, ".venv", "run", "dev")
    return tmp_path


def install(project, environment, *locks):
    (project / environment / "bin").mkdir(parents=True)
    (project / environment / "bin/python").symlink_to(sys.executable)
    lines = [
        f"requirements/{lock}.lock {sha256((project / f'requirements/{lock}.lock').read_bytes()).hexdigest()}\n"
        for lock in locks
    ]
    (project / environment / ".installed").write_text("".join(lines))


def start(project, *words):
    # Without what a make that runs these tests was told, as in `make test ARGS=...`.
    ours = ("MAKE", "MFLAGS", "ARGS", "GPU")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return subprocess.Popen(
        ["make", *words],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(project, *words):
    with start(project, *words) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_run_passes_options_and_prepares_once(project):
    code, out, _err = run(project, "run", "ARGS=-p 9000 --wrong 'a  b'")
    assert (code, out) == (2, "preparing\nup -p 9000 --wrong a  b\n")
    assert run(project, "run", "ARGS=--wrong")[1] == "up --wrong\n"
    (project / "models/lenet/new.keras").write_text("")
    assert run(project, "run", "ARGS=--wrong")[1] == "preparing\nup --wrong\n"


@pytest.mark.parametrize(
    ("number", "whom"),
    [(signal.SIGTERM, "make alone"), (signal.SIGTERM, "the group"), (signal.SIGINT, "the group, as Ctrl-C does")],
)
def test_run_hands_signals_to_the_server_and_makes_no_noise(project, number, whom):
    with start(project, "run") as process:
        while process.stdout.readline() != "up\n":
            assert process.poll() is None
        (os.kill if whom == "make alone" else os.killpg)(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert out == f"stopped by {number.name}\n"
    late = [(LATE, 2)] if whom != "make alone" else []
    assert (err, process.returncode) in [("", 0), ("", -number), *late]


def test_gpu_has_an_environment_of_its_own(project):
    install(project, ".venv-gpu", "gpu")
    (project / ".venv-gpu/bin/python").unlink()
    python = project / ".venv-gpu/bin/python"
    python.write_text('#!/bin/sh\necho gpu "$@"\n')
    python.chmod(0o755)
    assert run(project, "run", "GPU=1")[1] == "gpu src/inference/prepare.py\ngpu src/ImageServer.py\n"
    assert run(project, "run", "GPU=0", "ARGS=--wrong")[1] == "preparing\nup --wrong\n"


def test_slim_has_an_environment_of_its_own(project):
    install(project, ".venv-slim", "slim")
    python = project / ".venv-slim/bin/python"
    python.unlink()
    python.write_text('#!/bin/sh\necho slim "$@"\n')
    python.chmod(0o755)
    assert run(project, "run", "SLIM=1")[1] == "slim src/inference/prepare.py\nslim src/ImageServer.py\n"
    code, out, err = run(project, "test", "SLIM=1")
    assert (code, out, err.splitlines()[0]) == (2, "", "Tests and tools need TensorFlow: leave SLIM=1 out.")


def test_installing_says_what_it_takes_and_how_far_it_is(project):
    """With a pip that downloads two megabytes, and waits until both were told of."""
    (project / "requirements/sizes.txt").write_text("# of tests\nrun 4 8\n")
    text = (project / "scripts/environment.sh").read_text()
    assert "tell_progress 20 &" in text
    (project / "scripts/environment.sh").write_text(text.replace("tell_progress 20 &", "tell_progress 0.1 &"))
    (project / ".venv/.installed").unlink()
    python = project / ".venv/bin/python"
    python.unlink()
    python.write_text(
        '#!/bin/sh\nhead -c 2000000 /dev/zero > "$TMPDIR/x.whl"\nsleep 0.5\n'
        "head -c 2000000 /dev/zero > .venv/unpacked\nsleep 0.5\n"
    )
    python.chmod(0o755)
    code, out, err = run(project, "environment")
    assert (code, err) == (0, "")
    first, *others = out.splitlines()
    assert first == (
        "Installing requirements/run.lock into .venv. The first time this downloads 4 MB, takes 8 MB on disk, "
        "and some minutes."
    )
    assert {line.split()[-1] for line in others} == {"downloaded", "unpacked"}
    assert "2 of 4 MB downloaded" in others
    assert not list((project / "build").glob("installing.*"))


def test_a_changed_lock_is_installed(project):
    """With a pip that only says what it was told."""
    record = project / ".venv/.installed"
    (project / ".venv/bin/python").unlink()
    python = project / ".venv/bin/python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    lock = project / "requirements/run.lock"
    lock.write_text(lock.read_text() + "\n")
    code, out, err = run(project, "environment")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("Installing requirements/run.lock into .venv")
    assert "--require-hashes" in out and "-r requirements/run.lock" in out
    assert sorted(line.split()[0] for line in record.read_text().splitlines()) == [
        "requirements/dev.lock",
        "requirements/run.lock",
    ]
    assert run(project, "environment") == (0, "", "")


def test_a_failed_installation_says_so_and_is_tried_again(project):
    (project / ".venv/.installed").unlink()
    (project / ".venv/bin/python").unlink()
    python = project / ".venv/bin/python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    for _ in range(2):
        code, _out, err = run(project, "environment")
        assert code != 0
        assert err.startswith(
            "The packages of requirements/run.lock could not be installed into .venv: see pip's message above."
        )


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo 3.10", "{python} is Python 3.10, and ImageServer needs 3.11, 3.12 or 3.13: install one of them"),
        ("echo 3.14", "{python} is Python 3.14, and ImageServer needs 3.11, 3.12 or 3.13: install one of them"),
        (
            'case "$2" in *venv*) exit 1;; esac; echo 3.12',
            "{python} cannot make virtual environments: install its venv module (on Debian and Ubuntu: "
            "sudo apt install python3.12-venv).",
        ),
        (None, "There is no {python} here: install Python 3.11, 3.12 or 3.13"),
    ],
)
def test_an_unsuitable_python_is_named(project, script, sentence):
    shutil.rmtree(project / ".venv")
    python = project / "python"
    if script:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    code, out, err = run(project, "run", f"PYTHON={python}")
    assert (code, out) == (2, "")
    assert err.startswith(sentence.format(python=python))
    assert not (project / ".venv").exists()


@pytest.mark.long
def test_a_broken_environment_is_made_anew(project):
    """Its Python went away with an upgrade of the system."""
    (project / ".venv/bin/python").unlink()
    (project / ".venv/bin/python").symlink_to("/nowhere/python3")
    lock = project / "requirements/run.lock"
    lock.write_text("")  # nothing to install, so this needs no network
    code, out, err = run(project, "environment", f"PYTHON={sys.executable}")
    assert (code, err.replace("WARNING", "")) == (0, ""), err
    assert out.splitlines()[0].startswith("Making .venv with Python 3.")
    assert subprocess.run([project / ".venv/bin/python", "-c", ""], timeout=60).returncode == 0


def test_help_lists_the_targets():
    out = run(ROOT, "help")[1]
    assert {"help", "run", "check", "test", "test-long", "lint", "docs", "site", "bench", "lock", "clean"} <= {
        line.split()[1] for line in out.splitlines()
    }


def pins(name):
    text = (ROOT / f"requirements/{name}.lock").read_text()
    return set(re.findall(r"(?m)^([a-z0-9._-]+)==([^ ]+)(?: ; ([^\\]+?))? \\$", text))


def test_the_locks_agree():
    """dev.lock goes on top of run.lock in one folder; slim.lock lacks, and gpu.lock differs in, TensorFlow alone."""
    slim, full = ({pin[:2] for pin in pins(name)} for name in ("slim", "run"))  # what TensorFlow needs has no marker
    assert slim < full
    assert not {"tensorflow", "tensorflow-cpu", "keras"} & {name for name, _version in slim}
    assert full <= {pin[:2] for pin in pins("dev")} and slim < {pin[:2] for pin in pins("postgresql")}
    assert {name for name, *_rest in pins("run") ^ pins("gpu") if not name.startswith("nvidia")} == {
        "tensorflow",
        "tensorflow-cpu",
    }


LOCKS = ["run", "slim", "dev", "gpu", "display", "docs", "postgresql", "redis", "front-ends", "remote", "ray"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_index(name):
    text = (ROOT / f"requirements/{name}.lock").read_text()
    assert not re.search(r"(?m)^--|https?://|file:", text)
    for block in re.split(r"(?m)^(?=[a-z0-9])", text)[1:]:
        assert re.match(r"[a-z0-9._-]+==\S+", block) and "--hash=sha256:" in block, block[:80]


def test_every_requirement_is_locked():
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())
    server, extras = given["project"]["dependencies"], given["project"]["optional-dependencies"]
    groups = given["dependency-groups"]
    all_extras = [line for name in ("tensorflow", "postgresql", "redis", "remote") for line in extras[name]]
    wanted = {
        "slim": server,
        "run": [*server, *extras["tensorflow"]],
        "dev": [*server, *all_extras, *groups["dev"]],
        "remote": [*server, *extras["remote"]],
        "ray": [*server, *extras["ray"]],
        "postgresql": [*server, *extras["postgresql"]],
        "redis": [*server, *extras["redis"]],
        "front-ends": [*server, *extras["postgresql"], *extras["redis"]],
        "gpu": [*server, *extras["gpu"]],
        "display": groups["display"],
        "docs": groups["docs"],
    }
    for name, lines in wanted.items():
        assert {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines} <= {pin[0] for pin in pins(name)}


SCRIPTS = [*sorted(ROOT.glob("scripts/*.sh")), ROOT / "tests/environments.sh", ROOT / ".ci/run"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_and_parse(path):
    assert os.access(path, os.X_OK)
    assert path.read_text().splitlines()[0] == "#!/usr/bin/env bash"
    assert subprocess.run(["bash", "-n", path], timeout=60).returncode == 0
