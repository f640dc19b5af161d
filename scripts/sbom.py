#!/usr/bin/env python3
"""Write what a lock file and this project bring with them as a bill of materials: CycloneDX 1.6, JSON.

    .venv/bin/python scripts/sbom.py requirements/slim.lock > sbom.cdx.json

Packages, their hashes and who needs them come from the lock; licences from the metadata of those that the Python that
runs this has installed; models and samples from their folders, a SHA-256 for each file. `--installed` leaves out what
the lock names for other platforms or versions of Python. Standard library only: images run it while they are built.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "imageserver"
Component = dict[str, Any]

ENTRY = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\]+?))? \\\n(?P<rest>(?:[ ]+.*\n)*)")
"""A package of a lock: its first line, and the hashes and "# via" below it."""

SPDX = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD License": "",  # which of them the classifier does not say
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "CC0": "CC0-1.0",
} | {name: name for name in ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "HPND", "ISC", "MIT", "MIT-CMU", "MPL-2.0")}
"""Licences as packages and our tables write them, and their identifiers."""


def normal(name: str) -> str:
    """A package's name as locks write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(text: str) -> list[Component]:
    """A licence as CycloneDX has it: by its identifier where there is one."""
    known = SPDX.get(text)
    return [{"license": {"id": known} if known else {"name": text}}]


def is_installed(entry: re.Match[str]) -> bool:
    try:
        return metadata.version(entry["name"]) == entry["version"]
    except metadata.PackageNotFoundError:
        return False


def licences(entry: re.Match[str]) -> list[Component]:
    """Of a package, by its metadata; empty where this version is not installed, or says nothing."""
    if not is_installed(entry):
        return []
    said = metadata.metadata(entry["name"])
    if expression := said.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = [text.rpartition(" :: ")[2] for text in said.get_all("Classifier", []) if text.startswith("License")]
    field = said.get("License", "")
    if "\n" not in field and (field in SPDX or not classifiers):
        return licence(field) if field else []
    return [each for text in classifiers for each in licence(text)]


def reference(entry: re.Match[str]) -> str:
    """A package's URL, which is its name within the bill as well."""
    return f"pkg:pypi/{entry['name']}@{entry['version']}"


def package(entry: re.Match[str]) -> Component:
    """A package of the lock. Any one of the files with these hashes may be installed: the lock is for all platforms."""
    purl = reference(entry)
    found = {
        "type": "library",
        "bom-ref": purl,
        "name": entry["name"],
        "version": entry["version"],
        "purl": purl,
        "externalReferences": [
            {
                "type": "distribution",
                "url": purl,
                "comment": "one of the files with these hashes",
                "hashes": [{"alg": "SHA-256", "content": each} for each in re.findall("sha256:(\\w+)", entry["rest"])],
            }
        ],
    }
    if said := licences(entry):
        found["licenses"] = said
    if entry["marker"]:
        found["properties"] = [{"name": f"{PROJECT}:marker", "value": entry["marker"]}]
    return found


def wanted_by(entry: re.Match[str]) -> Iterator[str]:
    """The names behind "# via": packages, or this project."""
    for line in re.findall(r"^ +# +(?:via +)?(\S+)", entry["rest"], re.MULTILINE):
        if line not in ("via", "-c"):
            yield line


def file(path: Path) -> Component:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = path.relative_to(ROOT).as_posix()
    return {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}


def files_below(folder: Path) -> list[Component]:
    hidden = ("__pycache__", ".")
    return [
        file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(hidden) for part in path.relative_to(folder).parts)
    ]


def models(version: str) -> list[Component]:
    """Our own models, with every file of their folders."""
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"models/{manifest.parent.name}",
            "name": manifest.parent.name,
            "version": version,
            "description": tomllib.loads(manifest.read_text()).get("title", manifest.parent.name),
            "licenses": licence("MIT"),
            "components": files_below(manifest.parent),
        }
        for manifest in sorted((ROOT / "models").glob("*/model.toml"))
    ]


def samples(version: str) -> Component:
    """The pictures to try the server with; licences of photographs are a table of their README."""
    folder = ROOT / "clients" / "samples"
    rows = dict(re.findall(r"^\| `(\S+)` \|.*\| ([^|]+?) \|$", (folder / "README.md").read_text(), re.MULTILINE))
    found = files_below(folder)
    for each in found:
        each["licenses"] = licence(rows.get(each["name"].rpartition("/")[2], "MIT"))
    return {"type": "data", "bom-ref": "clients/samples", "name": "samples", "version": version, "components": found}


def dependencies(entries: list[re.Match[str]], own: list[Component]) -> list[Component]:
    """Who needs whom: the lock says of each package who asked for it, and it may hold two versions of one."""
    needs: dict[str, list[str]] = {PROJECT: [each["bom-ref"] for each in own]}
    needs |= {reference(entry): [] for entry in entries}
    for entry in entries:
        for who in wanted_by(entry):
            for ref in needs:
                if who == ref or ref.startswith(f"pkg:pypi/{normal(who)}@"):
                    needs[ref].append(reference(entry))
    return [{"ref": ref, "dependsOn": sorted(needed)} for ref, needed in needs.items()]


def bill(lock: Path, version: str, installed: bool) -> Component:
    """The whole document; the same input gives the same serial number."""
    entries = [each for each in ENTRY.finditer(lock.read_text()) if not installed or is_installed(each)]
    own = [*models(version), samples(version)]
    body = {
        "components": [*map(package, entries), *own],
        "dependencies": dependencies(entries, own),
    }
    digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    moment = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(digest[:32])}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(moment, UTC).isoformat(),
            "component": {
                "type": "application",
                "bom-ref": PROJECT,
                "name": PROJECT,
                "version": version,
                "licenses": licence("MIT"),
            },
            "properties": [
                {"name": f"{PROJECT}:lock", "value": lock.name},
                {"name": f"{PROJECT}:lock:sha256", "value": hashlib.sha256(lock.read_bytes()).hexdigest()},
            ],
        },
        **body,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a CycloneDX bill of materials of a lock to standard output.")
    parser.add_argument("lock", type=Path)
    parser.add_argument("--installed", action="store_true", help="only packages that this Python has installed")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="write imageserver-VERSION-LOCK.cdx.json there")
    options = parser.parse_args()
    (version,) = re.findall(r'^__version__ = "(.+)"', (ROOT / "src/__init__.py").read_text(), re.MULTILINE)
    text = json.dumps(bill(options.lock, version, options.installed), indent=1) + "\n"
    if options.into is None:
        sys.stdout.write(text)
        return
    options.into.mkdir(parents=True, exist_ok=True)
    path = options.into / f"{PROJECT}-{version}-{options.lock.stem}.cdx.json"
    path.write_text(text)
    print(path)


if __name__ == "__main__":
    main()
