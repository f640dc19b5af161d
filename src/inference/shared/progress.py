"""Long work shows itself: a bar on a terminal. Without one the lines that a command prints anyway have to do."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

Step = Callable[[float | None, str], None]
"""Takes the part that is done (0 to 1; None: nobody knows) and what is being done."""

DRAWN_EVERY = 0.5
"""Seconds."""
_KNOWN = "{desc} {bar:30} {percentage:3.0f}% {elapsed}{postfix}"
_UNKNOWN = "{desc} {elapsed}{postfix}"


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
    from tqdm import tqdm
    from tqdm.contrib import DummyTqdmFile

    screen = shutil.get_terminal_size()  # with a guess for a terminal that does not know its size
    with contextlib.ExitStack() as until_the_end:
        size = {"ncols": screen.columns, "nrows": screen.lines}
        bar = until_the_end.enter_context(tqdm(total=1.0, desc=what, leave=False, bar_format=_UNKNOWN, **size))
        if sys.stdout.isatty():  # what goes into a file or another program is not taken from there to the terminal
            until_the_end.enter_context(contextlib.redirect_stdout(DummyTqdmFile(sys.stderr)))
        ended = threading.Event()
        clock = threading.Thread(target=_keep_drawing, args=(bar, ended), daemon=True)
        clock.start()
        until_the_end.callback(clock.join)
        until_the_end.callback(ended.set)

        def step(part: float | None, text: str) -> None:
            # At once: what holds the interpreter next would keep it from being drawn.
            bar.bar_format = _UNKNOWN if part is None else _KNOWN
            bar.n = part or 0.0
            bar.set_postfix_str(text)

        yield step


def _keep_drawing(bar: Any, ended: threading.Event) -> None:
    """So that one sees by the time that it goes on."""
    while not ended.wait(DRAWN_EVERY):
        bar.refresh()
