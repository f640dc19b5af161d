"""What docs/write-a-model.md and docs/protocols.md tell people to write and to type does what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.protocols.session_client import models_folder
from tests.running import ROOT, Server, until

GUIDE = (ROOT / "docs" / "write-a-model.md").read_text()
PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text()
PHOTOS = str(ROOT / "clients" / "samples" / "photos")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / program), *arguments], capture_output=True, text=True, timeout=110, check=False
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models as somebody has it who followed the guide."""
    models = models_folder(tmp_path_factory.mktemp("guide"))
    names = ["brightness", "moves"]
    for name, manifest, code in zip(names, blocks(GUIDE, "toml"), blocks(GUIDE, "python"), strict=True):
        (models / name).mkdir()
        (models / name / "model.toml").write_text(manifest)
        (models / name / "model.py").write_text(code)
    return models


def test_models_are_tried_without_a_server(written: Path) -> None:
    ended = run("src/inference/try_model.py", str(written / "brightness"), PHOTOS)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] in GUIDE
    assert "4 frames; ms a frame: " in ended.stderr
    ended = run("src/inference/try_model.py", str(written / "moves"), PHOTOS, "--limit", "2")
    assert ended.returncode == 0, ended.stderr
    assert list(json.loads(ended.stdout.splitlines()[-1])) == ["timestamp", "moves_most"]


def test_and_served(written: Path, tmp_path: Path) -> None:
    arguments = ("--session-models", "moves", "--results", "-", "--session-key", "sesame")
    with Server(*arguments, models=written, model="brightness", data=tmp_path) as server:
        server.ready()
        address = f"127.0.0.1:{server.port}"
        ended = run("clients/camera.py", PHOTOS, "--server", address, "--hz", "50")
        assert ended.returncode == 0, ended.stderr
        assert re.match(r"astronaut\.jpg: dark 100\.0% \(brightness, \d+ ms\)\n", ended.stdout)
        server.wait_for('"label": "dark"')
        picture = f"{PHOTOS}/coffee.jpg"
        ended = run(
            "clients/session.py",
            picture,
            "--count",
            "3",
            "--hz",
            "50",
            "--server",
            address,
            "--key",
            "sesame",
            "--json",
        )
        assert ended.returncode == 0, ended.stderr
        assert "moves_most" in ended.stdout

        (snippet,) = blocks(PROTOCOLS, "python")
        snippet = snippet.replace("http://192.168.1.20:8080", server.url).replace("face.png", picture)
        command = [sys.executable, "-c", snippet + "client.disconnect()\n"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count('{"success":true}') == 3, ended.stdout

        code = written / "brightness" / "model.py"
        code.write_text(code.read_text().replace("self.limit = 127", "self.limit = 1"))
        until(lambda: "bright 100" in run("clients/camera.py", picture, "--server", address).stdout, "the new version")
