"""The Dockerfile, as far as can be told without Docker: hadolint, this project's rules, its steps done in a folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tests.running import ROOT, TEST_MODELS, Server, children, until

FILE = ROOT / "deploy" / "Dockerfile"
IGNORE = ROOT / "deploy" / "Dockerfile.dockerignore"
HADOLINT = ROOT / "build" / "hadolint" / "bin" / "hadolint"


def instructions() -> list[tuple[str, str]]:
    """Each as (name, rest), in order."""
    text = re.sub(r"(?m)^\s*#.*\n", "", FILE.read_text())
    return [
        (line.split()[0], line.split(maxsplit=1)[1])
        for line in re.sub(r"\\\n\s*", "", text).splitlines()
        if line.strip()
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each by its name, behind those of the stage that it begins with."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            base, _as, stage = rest.split()
            found[stage] = [*found.get(base, [])]
        elif found:
            found[stage].append((name, rest))
    return found


def given(name: str, image: str = "full") -> list[str]:
    return [rest for each, rest in stages()[image] if each == name]


def variables() -> dict[str, str]:
    return dict(re.findall(r"([A-Z_]+)=(\S+)", " ".join(given("ENV"))))


def sent(path: Path) -> bool:
    """Whether Docker gets this file, by the ignore file: the last line that matches it or a folder of it counts."""
    verdict, name = True, path.relative_to(ROOT)
    for line in IGNORE.read_text().splitlines():
        pattern = line.removeprefix("!")
        for each in (name, *name.parents):
            matches = fnmatch(each.name, pattern[3:]) if pattern.startswith("**/") else fnmatch(str(each), pattern)
            if line and line[0] != "#" and matches:
                verdict = line.startswith("!")
    return verdict


@pytest.mark.skipif(not HADOLINT.exists(), reason="needs tests/deploy/environment.sh")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, FILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("image", ["slim", "full"])
def test_it_is_run_by_nobody_special_and_watched(image: str) -> None:
    names = [name for name, _rest in stages()[image]]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", given("USER")[-1]), (
        "a number, so that `runAsNonRoot` of Kubernetes can tell"
    )
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert names.count("HEALTHCHECK") == 1
    assert json.loads(given("ENTRYPOINT", image)[0]) == ["tini", "--", "python", "src/ImageServer.py"], (
        "no shell between Docker's signals and the server"
    )
    ports = {variables()["IMAGESERVER_PORT"], variables()["IMAGESERVER_TCP_PORT"]}
    assert ports == set(given("EXPOSE")[0].split())
    assert given("VOLUME") == [variables()["IMAGESERVER_DATA"]]
    assert list(stages())[-1] == "full", "what is built where nobody says which"
    assert {rest for rest in given("COPY", "slim") if "slim" in rest} == {
        rest.replace("full", "slim") for rest in given("COPY") if "full" in rest
    }, "the two differ in their packages alone"


def test_what_goes_in_is_what_is_needed(tmp_path: Path) -> None:
    """No password, no data: of everything that may lie in the project only this reaches Docker."""
    for name in (
        ".env",
        "data/users.db",
        "ssl/key.pem",
        ".git/config",
        ".venv/bin/python",
        "tests/running.py",
        "src/__pycache__/a.pyc",
    ):
        assert not sent(ROOT / name), name
    for name in (
        "src/ImageServer.py",
        "src/inference/worker/main.py",
        "models/faces/model.toml",
        "clients/camera.py",
        "requirements/run.lock",
        "requirements/slim.lock",
    ):
        assert sent(ROOT / name), name
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), rest
                assert sent(ROOT / source), rest


def test_its_steps_make_a_server_that_is_healthy(tmp_path: Path) -> None:
    """What COPY puts there, with this Python, the image's variables (and other ports), ENTRYPOINT and HEALTHCHECK."""
    home, state = tmp_path / "home", tmp_path / "state"
    home.mkdir(), state.mkdir()
    for rest in given("COPY"):
        if "--from" in rest:
            continue
        source, target = rest.split()
        (home / target).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, home / target, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
        else:
            shutil.copy(ROOT / source, home / target)
    shutil.rmtree(home / "models")
    shutil.copytree(TEST_MODELS, home / "models")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMAGESERVER_")}
    environment = {**inherited, **variables(), "PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path)}
    environment |= {
        "IMAGESERVER_DATA": str(state),
        "IMAGESERVER_PORT": "0",
        "IMAGESERVER_TCP_PORT": "0",
        "IMAGESERVER_IP": "127.0.0.1",
    }
    entry = json.loads(given("ENTRYPOINT")[0])[2:]  # without tini
    health = json.loads(given("HEALTHCHECK")[0].partition("CMD ")[2])
    assert (entry[0], health[0]) == ("python", "python")

    def check(port: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *health[1:]]
        here = {**environment, "IMAGESERVER_PORT": str(port)}
        return subprocess.run(command, capture_output=True, text=True, cwd=home, env=here, timeout=60, check=False)

    process = subprocess.Popen(
        [sys.executable, *entry[1:], "-m", "echo"],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"wsgi starting up on http://127.0.0.1:(\d+)", process.stdout.readline())
        assert found
        port = int(found[1])
        until(lambda: check(port).returncode == 0, "health")
        assert '"ready"' in check(port).stdout
        assert children(process.pid)
    finally:
        process.send_signal(getattr(signal, given("STOPSIGNAL")[0]))
        with process:
            assert process.wait(30) == 0
    gone = check(port)
    assert (gone.returncode, gone.stderr) == (1, "")
    assert "does not answer" in gone.stdout


def test_the_health_check_tells_what_is_wrong_and_speaks_tls(tmp_path: Path) -> None:
    def check(**given_: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("IMAGESERVER_")
        } | given_
        command = [sys.executable, ROOT / "deploy/healthcheck.py"]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=False
        )

    with Server("--https-port", "0", data=tmp_path, model="chest-broken") as server:
        server.wait_for("models ready: none")
        found = check(IMAGESERVER_PORT=str(server.port))
        assert (found.returncode, "is failed" in found.stdout) == (1, True)
        tls_port = server.wait_for(r"https as well, on https://.*:(\d+)")[1]
        assert "is failed" in check(IMAGESERVER_PORT=tls_port, IMAGESERVER_TLS="yes").stdout
    assert check(IMAGESERVER_PORT="eighty").returncode == 1
