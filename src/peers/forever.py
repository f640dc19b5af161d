"""What runs for as long as the server does: an error that nobody expected is told, and it goes on."""

from __future__ import annotations

from collections.abc import Callable

from imageserver.errors import describe
from imageserver.transport import hub

AGAIN = 1.0
"""Seconds after an error until it goes on."""


def go_on(function: Callable[[], None], log: Callable[[str], None]) -> None:
    """Call what runs for ever, and again whenever it has raised; spawn it.

    Without it a front end would be forgotten by all others, or go on to show what is gone, until it is started anew.

    Args:
        function: Keeps what it knows elsewhere than in its variables.
        log: Takes a sentence; the same one once in a row.
    """
    told = ""
    while True:
        try:
            function()
            return
        except Exception as error:  # noqa: BLE001 - whatever we forgot: what other front ends are told goes on
            why = describe(error)
        if why != told:
            log(f"unexpected error in what front ends share, which goes on: {why}")
        told = why
        hub.sleep(AGAIN)
