"""How the commands of models end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from imageserver.errors import ImageServerError


def ended(program: str, work: Callable[[], object]) -> int:
    """Do `work`, and return the exit code: 0; 1 where a sentence on standard error says why not; 130 after Ctrl-C."""
    try:
        work()
    except (ImageServerError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
