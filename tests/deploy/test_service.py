"""The unit of systemd and what puts it in place, into a folder that stands in for a machine."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from tests.running import ROOT

UNIT = ROOT / "deploy" / "imageserver.service"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd's programs (scripts/apt-packages.sh)"
)


def install(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`make install-service` below `root`, with a .venv there that counts as installed."""
    home = root / "opt" / "imageserver"
    if not (home / ".venv").exists():
        (home / ".venv" / "bin").mkdir(parents=True)
        python = home / ".venv" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
    lock = "requirements/run.lock"
    digest = sha256((ROOT / lock).read_bytes()).hexdigest()
    (home / ".venv" / ".installed").write_text(f"{lock} {digest}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-C", str(ROOT), "--no-print-directory", "install-service", f"DESTDIR={root}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, check=False)


@needs_systemd
def test_it_is_put_in_place_enabled_and_explained(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 0, done.stderr
    home, units = tmp_path / "opt/imageserver", tmp_path / "etc/systemd/system"
    assert (units / "imageserver.service").read_bytes() == UNIT.read_bytes()
    for link in ("multi-user.target.wants/imageserver.service", "socket.service"):
        assert os.readlink(units / link) == "/etc/systemd/system/imageserver.service"
    for words in ("start", "status", "stop", "enable", "disable", "daemon-reload"):
        assert re.search(rf"sudo systemctl {words}\b", done.stdout)
    assert stat.S_IMODE((tmp_path / "etc/imageserver/imageserver.toml").stat().st_mode) == 0o640
    assert (tmp_path / "etc/sysusers.d/imageserver.conf").exists()
    helped = subprocess.run(
        [home / ".venv/bin/python", home / "src/ImageServer.py", "--help-all"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "--log-json" in helped.stdout
    assert sorted(path.name for path in home.iterdir()) == sorted(
        [
            ".venv",
            "LICENSE",
            "Makefile",
            "README.md",
            "clients",
            "deploy",
            "docs",
            "models",
            "requirements",
            "scripts",
            "src",
        ]
    )

    # An upgrade: what the operator wrote stays, what an older version had goes.
    (tmp_path / "etc/imageserver/imageserver.toml").write_text("port = 9000\n")
    (home / "models/mine").mkdir()
    (home / "src/gone.py").touch()
    assert install(tmp_path).returncode == 0
    assert (tmp_path / "etc/imageserver/imageserver.toml").read_text() == "port = 9000\n"
    assert (home / "models/mine").is_dir()
    assert not (home / "src/gone.py").exists()


@pytest.mark.parametrize("prefix", ["relative", "/with space", "/a/$(id)", "/opt/x|y"])
def test_a_strange_prefix_is_refused(tmp_path: Path, prefix: str) -> None:
    script = ROOT / "scripts/install-service.sh"
    environment = {**os.environ, "PREFIX": prefix, "DESTDIR": str(tmp_path)}
    done = subprocess.run([script], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"PREFIX={prefix}: give")
    assert list(tmp_path.iterdir()) == []


def test_a_home_is_refused_where_it_would_run(tmp_path: Path) -> None:
    script = ROOT / "scripts/install-service.sh"
    done = subprocess.run(
        [script], capture_output=True, text=True, env={**os.environ, "PREFIX": "/home/x", "DESTDIR": ""}, timeout=60
    )
    assert done.returncode == 2
    assert "the service does not see homes" in done.stderr


@needs_systemd
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The program has to exist for this.
    unit.write_text(UNIT.read_text().replace("/opt/imageserver/.venv/bin/python", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_wrong_settings_end_it_and_all_else_is_tried_again_for_ever() -> None:
    """Exit code 75, where users cannot be read or another server has the data folder, is one of the others."""
    text = UNIT.read_text()
    assert re.findall(r"(?m)^Restart\w*=.*$", text) == [
        "Restart=on-failure",
        "RestartSec=3",
        "RestartPreventExitStatus=2",
    ]
    assert re.findall(r"(?m)^StartLimitIntervalSec=.*$", text) == ["StartLimitIntervalSec=0"]


@needs_systemd
def test_it_is_hardened() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=30", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"Overall exposure level for imageserver.service: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert (done.returncode, float(found[1]) <= 3.0) == (0, True), found[0]
    assert "\nMemoryDenyWriteExecute" not in UNIT.read_text()


def test_its_command_is_one_that_the_server_takes(tmp_path: Path) -> None:
    """The words of ExecStart and the file that it names, with the folders elsewhere."""
    (command,) = re.findall(r"(?m)^ExecStart=\S+ \S+/ImageServer.py (.*)$", UNIT.read_text())
    (tmp_path / "imageserver.toml").write_text(
        re.sub(r"(?m)^# (?=[a-z-]+ = )", "", (ROOT / "deploy/imageserver.toml").read_text())
    )
    words = (
        command.replace("/etc/imageserver", str(tmp_path))
        .replace("/var/lib/imageserver", str(tmp_path / "state"))
        .split()
    )
    from imageserver.config import reading

    (tmp_path / "state").mkdir()
    found = reading.read(words, {}, folder=tmp_path, project=tmp_path)
    assert (found.data, found.users) == (tmp_path / "state", tmp_path / "state" / "users.db")
    assert (found.auth, found.log_json, [str(network) for network in found.trusted_proxy]) == (
        True,
        True,
        ["127.0.0.1/32"],
    )
