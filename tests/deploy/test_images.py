"""deploy/Dockerfile built and run for real: by podman, over a base made by debootstrap, as docs/operations.md says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.bare import MISSING, Debian
from tests.running import ROOT, until

NEEDS = MISSING or ("" if shutil.which("podman") else "needs podman")
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(NEEDS), reason=NEEDS), pytest.mark.timeout(4000)]

PATIENCE = 1800.0
IN_CGROUP_2 = 'mount --make-rprivate /; mount -t cgroup2 none /sys/fs/cgroup; exec podman "$@"'
"""Podman's runtime refuses cgroups of both versions at once: it gets a mount namespace that has the second alone."""
PLAIN = ("--cgroups=disabled", "--network=host", "--ulimit=nofile=4096:4096", "--ulimit=nproc=2000:2000")
"""What a container in a container takes: no cgroup, no network of its own, no more than there is."""
LARGEST = 700e6
"""Bytes of the slim image with a base of Debian's own Python."""
SHIPPED = sorted(path.parent.name for path in ROOT.glob("models/*/model.toml") if path.parent.name != "mobilenet")
"""mobilenet comes without its weights."""


class Podman:
    def __init__(self, folder: Path) -> None:
        self._where = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]

    def command(self, *words: str | Path) -> list[str]:
        return ["unshare", "--mount", "bash", "-c", IN_CGROUP_2, "podman", *self._where, *map(str, words)]

    def __call__(self, *words: str | Path, timeout: float = PATIENCE) -> str:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, (
            f"{words}: exit code {done.returncode}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        )
        return done.stdout


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    folder = Path(tempfile.mkdtemp(prefix="podman-"))  # pytest's is too long for podman: 50 characters
    yield Podman(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def base(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What python:3.12-slim-bookworm is elsewhere: Debian 12 with a Python that is called `python`, pip and venv."""
    root = tmp_path_factory.mktemp("base") / "debian"
    debian = Debian(root, ("python3-pip", "python3-venv", "ca-certificates"))
    (debian.root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    shutil.rmtree(debian.root / "var/lib/apt/lists")
    with subprocess.Popen(["tar", "-C", debian.root, "-c", "."], stdout=subprocess.PIPE) as packed:
        subprocess.run(podman.command("import", "-", "localhost/base"), stdin=packed.stdout, check=True)
    shutil.rmtree(root)
    return "localhost/base"


@pytest.fixture(scope="module")
def image(podman: Podman, base: str) -> str:
    here = Path("/etc/ssl/certs")  # the authorities of this machine, by which packages are reached
    options = ["--isolation=chroot", "--network=host", "--format=docker", "--layers=false", "-v", f"{here}:{here}:ro"]
    files = ["-f", ROOT / "deploy/Dockerfile", "--ignorefile", ROOT / "deploy/Dockerfile.dockerignore"]
    given = ["--build-arg", f"BASE={base}", "--target", "slim", "-t", "localhost/imageserver:slim"]
    podman("build", *options, *files, *given, ROOT)
    return "localhost/imageserver:slim"


def hardened() -> list[str]:
    """The options of the command in docs/operations.md that take things away."""
    (found,) = re.findall(r"(--read-only .*) imageserver:slim", (ROOT / "docs/operations.md").read_text())
    return str(found).split()


def test_slim_is_small(podman: Podman, base: str, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [json.loads(podman("image", "inspect", name))[0]["Size"] for name in (image, base)]
    with capsys.disabled():
        print("\nslim: {:.0f} MB, of which the base is {:.0f} MB".format(*(size / 1e6 for size in sizes)))
    assert sizes[0] < LARGEST


def test_it_serves_read_only_and_ends_in_good_order(podman: Podman, image: str, tmp_path: Path) -> None:
    state = ["-v", "state:/var/lib/imageserver", "-e", "IMAGESERVER_IP=127.0.0.1", "-e", "IMAGESERVER_PORT=0"]
    state += ["-e", "IMAGESERVER_TCP_PORT=off"]
    log = tmp_path / "log"
    command = podman.command("run", "--name", "served", *PLAIN, *hardened(), *state, image)
    with log.open("w") as written, subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT) as process:
        try:
            until(lambda: "models ready: faces" in log.read_text() or process.poll() is not None, "models", PATIENCE)
            (url,) = re.findall(r"wsgi starting up on (\S+)", log.read_text())
            camera = [sys.executable, ROOT / "clients/camera.py", ROOT / "clients/samples/photos", "-s", url]
            said = subprocess.run(camera, capture_output=True, text=True, timeout=PATIENCE).stdout
            assert "4 sent, 4 answered" in said
            port = f"IMAGESERVER_PORT={url.rpartition(':')[2]}"
            assert '"ready"' in podman("exec", "-e", port, "served", "python", "deploy/healthcheck.py")
            facts = podman("exec", "served", "sh", "-c", "cat /proc/1/comm; id; grep CapBnd /proc/self/status")
            assert facts.split()[0] == "tini" and "uid=10001" in facts and "CapBnd:\t0000000000000000" in facts
            tried = "touch /opt/imageserver/a /var/cache/imageserver/a 2>&1; true"
            assert podman("exec", "served", "sh", "-c", tried).count("Read-only file system") == 2
            assert "warning: " not in log.read_text().replace("may have 4096 files", ""), "the jail holds here as well"
        finally:
            podman("stop", "-t", "30", "served")
    assert (process.returncode, log.read_text().splitlines()[-1]) == (0, "stopped"), log.read_text()


def test_a_stop_while_it_starts_is_heard(podman: Podman, image: str) -> None:
    """Without tini the kernel keeps a signal from process 1 that Python has no handler for yet."""
    podman("create", "--name", "hasty", *PLAIN, *hardened(), image)
    podman("start", "hasty")
    began = time.monotonic()
    podman("kill", "-s", "TERM", "hasty")
    assert podman("wait", "hasty").strip() in ("143", "0")
    assert time.monotonic() - began < PATIENCE / 10


def test_every_shipped_model_runs(podman: Podman, image: str) -> None:
    """In one container, read-only as it is served; the trimmed packages have all that they need."""
    program = (
        'for name; do echo "== $name"; python src/ImageServer.py model try "$name" clients/samples/photos 2>&1; done'
    )
    words = ["--rm", *PLAIN, *hardened(), "--entrypoint", "sh", image, "-ec", program, "sh", *SHIPPED]
    said = podman("run", *words)
    for name, part in zip(SHIPPED, said.split("== ")[1:], strict=True):
        assert part.startswith(name) and "\n4 frames; " in part, part


def test_what_is_in_it_is_in_its_bill(podman: Podman, image: str) -> None:
    bill = json.loads(podman("run", "--rm", *PLAIN, "--entrypoint", "cat", image, "sbom.cdx.json"))
    program = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    there = podman("run", "--rm", *PLAIN, "--entrypoint", "python", image, "-c", program).split()
    packages = [each for each in bill["components"] if each["type"] == "library"]
    assert {re.sub("[-_.]+", "-", each.lower()).replace("==", "@") for each in there} == {
        re.sub("[-_.]+", "-", f"{each['name']}=={each['version']}").replace("==", "@") for each in packages
    }
    assert all(each.get("licenses") for each in packages)
