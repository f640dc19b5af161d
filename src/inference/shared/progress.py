"""Long work shows itself: a bar on a terminal. Without one the lines that a command prints anyway have to do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Step = Callable[[float | None, str], None]
"""Takes the part that is done (0 to 1; None: nobody knows) and what is being done."""


@contextlib.contextmanager
def shown(what: str) -> Iterator[Step]:
    """A bar on standard error for as long as the context lasts; what is printed meanwhile stands above it.

    Args:
        what: the work, as people name it.
    """
    if not sys.stderr.isatty():
        yield lambda _part, _text: None
        return
    # Here, since nobody else needs it, the server least of all.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    # What goes into a file or another program is not taken from there to the terminal.
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task(what, total=None, text="")

        def step(part: float | None, text: str) -> None:
            # At once: what holds the interpreter next would keep it from being drawn.
            bar.update(task, total=None if part is None else 1.0, completed=part or 0.0, text=text, refresh=True)

        yield step
