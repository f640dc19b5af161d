"""Bills of materials: what scripts/sbom.py writes of the locks, held against the schema of CycloneDX."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests.running import PATIENCE, ROOT

import imageserver

CYCLONEDX = ROOT / "build" / "cyclonedx" / "bin" / "python"
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for name in sys.argv[1:]:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(name).read())
    sys.exit(error and f"{name}: {error.data}")
"""


def written(folder: Path, lock: str, *options: str) -> Path:
    command = [sys.executable, ROOT / "scripts/sbom.py", ROOT / f"requirements/{lock}.lock", "--into", folder, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env={"SOURCE_DATE_EPOCH": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder / f'imageserver-{imageserver.__version__}-{lock}.cdx.json'}\n"
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("slim"), "slim")


def components(path: Path) -> dict[str, dict[str, Any]]:
    found = json.loads(path.read_text())["components"]
    return {each["bom-ref"]: each for each in found}


@pytest.mark.skipif(not CYCLONEDX.exists(), reason="needs tests/deploy/environment.sh")
def test_it_is_what_the_schema_says(slim: Path, tmp_path: Path) -> None:
    files = [
        slim,
        *(written(tmp_path, lock) for lock in ("run", "gpu")),
        written(tmp_path / "here", "run", "--installed"),
    ]
    done = subprocess.run([CYCLONEDX, "-c", VALIDATE, *files], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_package_of_the_lock_is_in_it_with_its_hashes(slim: Path) -> None:
    text = (ROOT / "requirements/slim.lock").read_text()
    found = {ref: each for ref, each in components(slim).items() if each["type"] == "library"}
    assert set(found) == {
        "pkg:pypi/{}@{}".format(*line.split()[0].split("==")) for line in text.splitlines() if line[:1].isalpha()
    }
    hashes = [each["content"] for package in found.values() for each in package["externalReferences"][0]["hashes"]]
    assert len(hashes) == text.count("--hash=sha256:") > len(found)
    assert all(f"--hash=sha256:{each}" in text for each in hashes)


def test_licences_are_those_that_installed_packages_name(slim: Path) -> None:
    """None is guessed: a version that is not here has none."""
    for ref, each in components(slim).items():
        if each["type"] != "library":
            continue
        try:
            is_here = metadata.version(each["name"]) == each["version"]
        except metadata.PackageNotFoundError:
            is_here = False
        assert bool(each.get("licenses")) == is_here, ref
    said = {
        name: components(slim)[ref]["licenses"]
        for ref in components(slim)
        for name in ("h11", "wsproto")
        if name in ref
    }
    assert said == {"h11": [{"license": {"id": "MIT"}}], "wsproto": [{"expression": "MIT"}]}


def test_who_needs_whom_comes_from_the_lock(slim: Path) -> None:
    found = {each["ref"]: each["dependsOn"] for each in json.loads(slim.read_text())["dependencies"]}
    by_name = {ref.rpartition("/")[2].partition("@")[0]: ref for ref in found}
    assert by_name["bidict"] in found[by_name["python-socketio"]]
    assert by_name["python-socketio"] in found["imageserver"]
    assert by_name["bidict"] not in found["imageserver"]
    needed = {ref for needs in found.values() for ref in needs}
    assert set(found) - needed == {"imageserver"}, "nothing is there that nobody asked for"


def test_models_and_samples_are_in_it_file_by_file(slim: Path) -> None:
    found = components(slim)
    assert {ref for ref, each in found.items() if each["type"] == "machine-learning-model"} == {
        f"models/{path.parent.name}" for path in ROOT.glob("models/*/model.toml")
    }
    (weights,) = [each for each in found["models/lenet"]["components"] if each["name"] == "models/lenet/weights.npz"]
    digest = hashlib.sha256((ROOT / "models/lenet/weights.npz").read_bytes()).hexdigest()
    assert weights["hashes"] == [{"alg": "SHA-256", "content": digest}]
    samples = {each["name"].rpartition("/")[2]: each["licenses"] for each in found["clients/samples"]["components"]}
    assert samples["chelsea.jpg"] == [{"license": {"id": "CC0-1.0"}}]
    assert samples["rocket.jpg"] == [{"license": {"name": "public domain"}}]
    assert samples["7.png"] == [{"license": {"id": "MIT"}}]


def test_the_same_lock_gives_the_same_file(slim: Path, tmp_path: Path) -> None:
    assert written(tmp_path, "slim").read_bytes() == slim.read_bytes()


def test_what_is_for_other_platforms_can_be_left_out(slim: Path, tmp_path: Path) -> None:
    here = components(written(tmp_path, "slim", "--installed"))
    numpy = [each["version"] for each in here.values() if each["name"] == "numpy"]
    assert numpy == [metadata.version("numpy")]
    assert [each["version"] for each in components(slim).values() if each["name"] == "numpy"] > numpy
