"""The index as a table for 80 columns."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator

from imageserver.inference.getting.fetching import megabytes
from imageserver.inference.getting.index import IndexedModel
from imageserver.inference.getting.origins import Origin

HEAD = ("name", "task", "size", "licence", "from")


def lines(models: Iterable[IndexedModel], origin: Origin | None) -> Iterator[str]:
    """A row for each model, with what it is and the names of its files below.

    Args:
        origin: a mirror or a folder, of which the last column says whether the file is there; None: the column says
            whose server the file comes from.

    Raises:
        ModelError: the mirror does not answer.
    """
    models = list(models)
    rows = [HEAD, *(_row(model, origin) for model in models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, model in zip(rows, [None, *models], strict=True):
        name, task, size, licence, where = row
        yield "  ".join(
            (name.ljust(widths[0]), task.ljust(widths[1]), size.rjust(widths[2]), licence.ljust(widths[3]), where)
        )
        if model is not None:
            yield f"  {model.title}: {model.figures}"
            for file in model.files:
                yield f"  {file.name}"


def _row(model: IndexedModel, origin: Origin | None) -> tuple[str, ...]:
    host = urllib.parse.urlsplit(model.files[0].address).hostname or ""
    where = host if origin is None else _found(model, origin)
    return model.name, model.task, f"{megabytes(model.size)} MB", model.license, where


def _found(model: IndexedModel, origin: Origin) -> str:
    """Of the first file that is not as it ought to be."""
    for file in model.files:
        size = origin.size(file)
        if size is None:
            return "not there" if file is model.files[0] else f"lacks {file.name}"
        if size not in (-1, file.size):
            return f"another file, {megabytes(size)} MB"
    return "there"
