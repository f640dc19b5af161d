"""The demo's server: the same as any, but for its settings, which are the demo's alone and come from nowhere else."""

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
    """Serve with the settings that the only argument has, as JSON; returns the exit code."""
    lifetime.end_with_parent()
    given = json.loads(sys.argv[1])
    data = Path(given["data"])
    os.environ["XDG_CACHE_HOME"] = str(data / "cache")  # what is converted goes with the demo, too
    try:
        return server.serve(Settings(**given | {"data": data}), [])
    except ImageServerError as error:
        for sentence in str(error).splitlines():
            print(f"imageserver demo: {sentence}", file=sys.stderr)
        return server.WRONG_SETTING
