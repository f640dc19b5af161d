"""deploy/ray/cluster.yaml, held against Ray's own schema, and what it and docs/ray.md install and need."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests import ray_cluster
from tests.running import ROOT

from imageserver.inference.worker.cluster import node

CHECK = """
import sys, yaml
from ray.autoscaler._private.util import prepare_config, validate_config
config = prepare_config(yaml.safe_load(open(sys.argv[1])))
validate_config(config)
print(len(config["provider"]["worker_ips"]), config["max_workers"])
"""


@pytest.mark.long
@pytest.mark.skipif(bool(ray_cluster.lacking()), reason=ray_cluster.lacking())
def test_the_file_for_rays_launcher_holds_its_schema() -> None:
    command = [ray_cluster.PYTHON, "-c", CHECK, ROOT / "deploy" / "ray" / "cluster.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 3", "what is before it warns of files as mounts, in Docker"


FILE = (ROOT / "deploy" / "ray" / "cluster.yaml").read_text()
INSTALLS = re.compile(r"bin/pip install ([^\n]*(?:\n    -r [^\n]*)?)")
LOCKED = "--require-hashes --no-deps --only-binary :all: -r "


@pytest.mark.parametrize("path", ["deploy/ray/cluster.yaml", "docs/ray.md"])
def test_nodes_get_the_versions_of_the_lock_and_no_others(path: str) -> None:
    """Ray's client speaks to its own version alone, and models run on the server's version of OpenVINO alone."""
    found = [" ".join(each.replace("--quiet ", "").split()) for each in INSTALLS.findall((ROOT / path).read_text())]
    assert len(found) == 2
    assert found[0].startswith(LOCKED) and found[0].endswith("requirements/ray.lock")
    assert found[1].startswith("--no-deps ") and found[1].endswith(".whl")


def test_the_lock_has_all_of_what_has_to_be_the_same() -> None:
    lock = (ROOT / "requirements" / "ray.lock").read_text()
    for package in (*node.SAME[1:], "ray"):
        assert re.search(rf"^{package}==", lock, re.MULTILINE), package


def test_what_is_taken_to_each_machine_is_where_it_is_used() -> None:
    mounts = dict(re.findall(r"^  (\S+): (\S+)$", FILE.partition("file_mounts:")[2].partition("\n\n")[0], re.MULTILINE))
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert (ROOT / mounts["/opt/imageserver/requirements"] / "ray.lock").is_file()
    starts = re.findall(r"RAY_AUTH_MODE=token[^-]*?/bin/ray start", FILE)
    assert len(starts) == 2 == FILE.count("bin/ray start")


@pytest.mark.long
@pytest.mark.skipif(bool(ray_cluster.lacking()), reason=ray_cluster.lacking())
def test_the_command_of_its_header_makes_the_token_where_it_is_taken_from(tmp_path: Path) -> None:
    command = re.search(r"^#     (ray get-auth-token .*)$", FILE, re.MULTILINE)
    assert command is not None
    path = f"{ray_cluster.RAY.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": path}
    subprocess.run(command[1], shell=True, env=environment, check=True, timeout=110)  # noqa: S602
    made = tmp_path / ".ray" / "auth_token"
    assert len(made.read_text()) >= 32 and made.stat().st_mode & 0o777 == 0o600
