"""deploy/compose.yaml, as far as can be told without Docker: its schema, and what the files beside it say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.running import PATIENCE, ROOT

from imageserver.config.table import TABLE

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
MONITORING = DEPLOY / "monitoring"
PROMTOOL = shutil.which("promtool")
TOOLS = ROOT / "build" / "compose" / "bin"
_READ = "import json, sys; from ruamel.yaml import YAML; print(json.dumps(YAML(typ='safe').load(open(sys.argv[1]))))"

pytestmark = pytest.mark.skipif(not TOOLS.exists(), reason="needs tests/deploy/environment.sh")


def read(path: Path) -> Any:
    """What a YAML file holds."""
    done = subprocess.run([TOOLS / "python", "-c", _READ, path], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_compose_holds_its_schema() -> None:
    run = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE]
    done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_says_what_the_other_files_say() -> None:
    found = read(COMPOSE)
    services = found["services"]
    ends = {name: each for name, each in services.items() if name.startswith("front-end-")}
    variables = {f"IMAGESERVER_{row.name.upper()}" for row in TABLE}
    addresses = {name: each["networks"]["inside"]["ipv4_address"] for name, each in ends.items()}
    for name, each in ends.items():
        settings = each["environment"]
        assert settings.keys() <= variables
        assert name.endswith(f"-{settings['IMAGESERVER_FRONT_END']}")
        assert settings["IMAGESERVER_TRUSTED_PROXY"] == services["nginx"]["networks"]["inside"]["ipv4_address"]
        grace, leaving = each["stop_grace_period"], settings["IMAGESERVER_LEAVE_TIME"]
        assert int(grace.removesuffix("s")) >= int(leaving.removesuffix("s")) + 10
    assert services["nginx"]["extra_hosts"] == [f"{name}:{address}" for name, address in addresses.items()]
    targets = read(MONITORING / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"{name}:8080" for name in ends]
    nginx = (DEPLOY / "front-ends" / "nginx.conf").read_text()
    assert set(re.findall(r"server (front-end-\w):8080", nginx)) == set(ends)
    for each in services.values():
        for volume in each.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in found["volumes"], volume
    assert services["grafana"]["ports"] == ["127.0.0.1:3000:3000"], "not for the network"
    assert {name for name, each in services.items() if "outside" in each["networks"]} == {"nginx", "grafana"}


@pytest.mark.skipif(not shutil.which("docker"), reason="needs docker")
def test_compose_itself_reads_it() -> None:
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if asked.returncode:
        pytest.skip("this docker has no compose")
    run = ["docker", "compose", "-f", COMPOSE, "config", "--quiet"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian's package prometheus)")
def test_promtool_reads_prometheus_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    text = (MONITORING / "prometheus.yml").read_text().replace("/run/secrets/prometheus_token", str(token))
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    assert PROMTOOL is not None
    run = [PROMTOOL, "check", "config", tmp_path / "prometheus.yml"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
