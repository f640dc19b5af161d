"""`imageserver model list`: the models, what they are, and what each of them lacks."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from imageserver import folders
from imageserver.app.checks.models import lacks_tensorflow, lacks_weights
from imageserver.config import reading
from imageserver.errors import ImageServerError
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.registry import Registry
from imageserver.lines import printable


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    made = argparse.ArgumentParser(description="List the models, and what each of them lacks.")
    made.add_argument("--models", type=Path, metavar="DIR", help="the models folder (default: the server's)")
    made.add_argument("--data", type=Path, metavar="DIR", help="the server's data, with models that it trained itself")
    made.add_argument("--json", action="store_true", help="a line of JSON for each")
    return made


def main() -> int:
    """Exit code 0; 1 where something is wrong with a model; 2 where there is no folder of models."""
    known = parser()
    given = known.parse_args()
    options = [f"--{name}={getattr(given, name)}" for name in ("models", "data") if getattr(given, name)]
    try:
        settings = reading.read(options, os.environ)
        registry = Registry(settings.models, settings.data / "models")
    except ImageServerError as error:
        print("\n".join(f"{known.prog}: {sentence}" for sentence in str(error).splitlines()), file=sys.stderr)
        return 2
    registry.scan()
    for _name, manifest in sorted(registry.manifests.items()):
        print(json.dumps(_row(manifest)) if given.json else printable(_line(manifest)), flush=True)
    for sentence in registry.errors.values():
        print(printable(sentence), file=sys.stderr)
    return 1 if registry.errors else 0


def _row(manifest: Manifest) -> dict[str, object]:
    return {
        "name": manifest.name,
        "title": manifest.title,
        "kind": manifest.kind,
        "stateful": manifest.stateful,
        "listed": manifest.listed,
        "license": manifest.license,
        "lacks": _lacks(manifest),
    }


def _line(manifest: Manifest) -> str:
    kind = "sessions" if manifest.stateful else manifest.kind
    missing = f"; lacks {_lacks(manifest)}" if _lacks(manifest) else ""
    return f"{manifest.name:20} {kind:15} {manifest.title}{missing}"


def _lacks(manifest: Manifest) -> str:
    """What a model cannot do without and that is not there, a file or TensorFlow; "" where all is there."""
    weights = manifest.runtime.weights
    if weights is not None and lacks_weights(manifest):
        return weights.name
    return f"TensorFlow: {folders.ADD_TENSORFLOW} adds it" if lacks_tensorflow(manifest) else ""
