"""deploy/ray/cluster.yaml, held against Ray's own schema."""

from __future__ import annotations

import subprocess

import pytest
from tests import ray_cluster
from tests.running import ROOT

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
    assert done.stdout.split() == ["3", "3"]
