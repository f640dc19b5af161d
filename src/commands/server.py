"""A command's own server: the same as any, but for its settings, which come from that command and nowhere else."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from imageserver.app import server
from imageserver.config.table import Settings
from imageserver.errors import ImageServerError
from imageserver.inference.shared import lifetime


def main() -> int:
    """Serve with the settings that the first argument has, as JSON; the second is the command, for sentences.

    Returns the exit code.
    """
    lifetime.end_with_parent()
    given = json.loads(sys.argv[1])
    data = Path(given["data"])
    os.environ["XDG_CACHE_HOME"] = str(data / "cache")  # what is converted goes with it, too
    try:
        folders = {name: Path(given[name]) for name in ("data", "models") if name in given}
        return server.serve(Settings(**given | folders), [])
    except ImageServerError as error:
        for sentence in str(error).splitlines():
            print(f"{sys.argv[2]}: {sentence}", file=sys.stderr)
        return server.WRONG_SETTING
