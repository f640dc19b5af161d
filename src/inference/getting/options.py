"""What the command line of add_model takes for models from elsewhere."""

from __future__ import annotations

import argparse

from imageserver.errors import ModelError
from imageserver.inference.getting import index, listing, origins
from imageserver.inference.getting.index import IndexedModel
from imageserver.lines import printable

READINGS = ("name", "title", "kind", "labels", "range", "mean", "std", "order", "preprocessing", "size", "constant")
"""Options that say what a manifest says."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add --list, --get and --from."""
    parser.add_argument("--list", action="store_true", help="list the models that --get brings")
    parser.add_argument(
        "--get", choices=list(index.read()), metavar="NAME", help="instead of a file: bring a model of the list"
    )
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="PLACE",
        help="where --get and --list look instead: a folder, or a mirror's address",
    )
    # Of a model of the list; a file says nothing of them.
    parser.set_defaults(license="", source="", output={})


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program where they do not go together."""
    if sum((options.model is not None, options.get is not None, options.list)) != 1:
        parser.error("give a file, or the name of a model of the index with --get, or --list")
    if options.origin is not None and options.model is not None:
        parser.error("--from says where --get and --list look: leave it out with a file")


def print_list(options: argparse.Namespace) -> None:
    """What --list asks for. ModelError."""
    origin = origins.origin(options.origin) if options.origin is not None else None
    for line in listing.lines(index.read().values(), origin):
        print(printable(line))


def take(options: argparse.Namespace, model: IndexedModel) -> None:
    """Have the options say what the index knows of a model, where they do not say otherwise.

    ModelError: they say it of a model with a manifest of its own.
    """
    if model.shipped:
        for option in READINGS:
            if getattr(options, option):
                raise ModelError(f"{model.name} has a manifest already, which says such things: leave out --{option}")
        return
    for option, value in {**model.reading, "title": model.title}.items():
        if getattr(options, option) is None:
            setattr(options, option, value)
    options.license, options.source, options.output = model.license, model.page, model.output
