"""Convert the models that OpenVINO is to run: `python src/inference/prepare.py`.

Without it the first worker that loads such a model does it. What needs none is skipped at once: what is in the cache
already, and a network in code with a `graph.zip` beside it, as the shipped ones have. `--graph NAME` writes that.
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
from imageserver.errors import ImageServerError, ModelError
from imageserver.inference.convert import process
from imageserver.inference.shared import conversion_cache, progress, weights
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.registry import Registry
from imageserver.inference.shared.slim import graph, tensorflow


def prepare(manifest: Manifest, cache: Path) -> str:
    """Convert one model unless it is done already; returns a sentence, "" when there was nothing to do."""
    if manifest.runtime.runtime not in ("auto", "openvino") or manifest.runtime.weights is None:
        return ""
    if graph.is_current(manifest):
        return ""
    digest = weights.check(manifest)
    note = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    if conversion_cache.find(conversion_cache.entry_folder(cache, manifest, digest), note) is not None:
        return ""
    if tensorflow.is_needed(manifest):
        tensorflow.require("converting it")
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
    parser.add_argument(
        "--graph",
        nargs="+",
        metavar="NAME",
        help=f"write {graph.FILE} into the folders of these models: networks in code, which then run without "
        "TensorFlow; again after each change of their code",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; what cannot be converted is said, and is no reason for another code."""
    options = parser().parse_args(argv)
    process.set_environment()
    registry = Registry(options.models)
    for text in registry.scan().errors:
        print(text, file=sys.stderr)
    if options.graph:
        return _write_graphs(registry, options.graph)
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


def _write_graphs(registry: Registry, names: list[str]) -> int:
    """Exit code 1 where one of them gets none; a sentence says why."""
    code = 0
    with progress.shown("Writing graphs") as step:
        for count, name in enumerate(names):
            step(count / len(names), name)
            try:
                if name not in registry.manifests:
                    raise ModelError(f"there is no model {name!r}; there are: {', '.join(sorted(registry.manifests))}")
                tensorflow.require("making a graph")
                from imageserver.inference.convert import graph as graphs

                print(f"model {name}: {graphs.write(registry.manifests[name])}", flush=True)
            except (ImageServerError, OSError) as error:
                print(error, file=sys.stderr)
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
