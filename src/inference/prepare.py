"""Convert the models that OpenVINO is to run: `python src/inference/prepare.py`.

Installation does it for those shipped.

Without it the first worker that loads such a model does it. What is in the cache already is skipped at once.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if not __package__:
    # Run as a file: its own folder must not be where imports look first, src/ must.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    import bootstrap

    bootstrap.start()

from imageserver import folders
from imageserver.errors import ImageServerError
from imageserver.inference.convert import process
from imageserver.inference.shared import conversion_cache, progress, weights
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.registry import Registry


def prepare(manifest: Manifest, cache: Path) -> str:
    """Convert one model unless it is done already; returns a sentence, "" when there was nothing to do."""
    if manifest.runtime.runtime not in ("auto", "openvino") or manifest.runtime.weights is None:
        return ""
    digest = weights.check(manifest)
    note = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    if conversion_cache.find(conversion_cache.entry_folder(cache, manifest, digest), note) is not None:
        return ""
    start = time.monotonic()
    from imageserver.inference.convert.convert import convert

    entry = convert(manifest, digest, cache)
    if not entry.report.good:
        left = "stays in TensorFlow" if kinds.of(manifest.runtime.weights) is None else "cannot be run"
        return f"{left}: {entry.report.reason}"
    return f"converted in {time.monotonic() - start:.1f} s, scores differ by at most {entry.report.difference:.2g}"


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Convert models to OpenVINO ahead of time; says which needed it.")
    parser.add_argument(
        "--models", type=Path, default=folders.MODELS, help="the models folder (default: the project's)"
    )
    parser.add_argument(
        "--models-cache",
        type=Path,
        default=conversion_cache.cache_folder(),
        help="where they are kept (default: %(default)s)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; what cannot be converted is said, and is no reason for another code."""
    options = parser().parse_args(argv)
    process.set_environment()
    registry = Registry(options.models)
    for text in registry.scan().errors:
        print(text, file=sys.stderr)
    with progress.shown("Converting models") as step:
        for count, (name, found) in enumerate(sorted(registry.manifests.items())):
            if found.runtime.weights is not None and not found.runtime.weights.exists():
                continue  # for those who fetch the weights; its first load converts it
            step(count / len(registry.manifests), name)
            try:
                said = prepare(found, options.models_cache)
            except (ImageServerError, OSError) as error:
                said = str(error)
            if said:
                print(f"model {name}: {said}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
