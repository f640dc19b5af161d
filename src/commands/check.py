"""`imageserver check`: everything that is wrong with the settings; it changes nothing and starts nothing."""

from __future__ import annotations

import os
import sys

from imageserver import __version__
from imageserver.config import reading
from imageserver.errors import PrintAsked

WRONG = 2


def main() -> int:
    """Take the server's options; print a sentence for each fault, and exit with 2, or one line and 0."""
    try:
        found = reading.gather(sys.argv[1:], os.environ)
    except PrintAsked as asked:
        print(asked, end="")
        return 0
    said = [*found.faults, *found.remarks]
    for sentence in said:
        print(sentence)
    if said:
        return WRONG
    print(f"ImageServer {__version__} finds no fault.")
    return 0
