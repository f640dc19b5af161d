"""ImageServer with one path more: /state tells what its process holds."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")
import bootstrap

bootstrap.provide_package()

from imageserver.app import server as app

MODULES = {
    "imageserver.streams.session",
    "imageserver.streams.merging",
    "imageserver.inference.server.stateful.queues",
}
KINDS = ("Session", "Merger", "PendingPrediction", "ModelQueue", "Call")


def state(_environ: Any, start_response: Any) -> list[bytes]:
    gc.unfreeze()
    gc.collect()
    gc.unfreeze()  # what is frozen after a full collection is not told
    things = gc.get_objects()
    ours = [type(thing).__name__ for thing in things if type(thing).__module__ in MODULES]
    found = {kind: ours.count(kind) for kind in KINDS}
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * resource.getpagesize()
    descriptors = len(os.listdir("/proc/self/fd"))
    body = json.dumps(
        {"left": found, "objects": len(things), "resident": resident, "descriptors": descriptors}
    ).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Counting(app.ImageServer):
    def __init__(self, settings: Any, warnings: list[str]) -> None:
        super().__init__(settings, warnings)
        self.doors.http.route("/state", state)


if __name__ == "__main__":
    app.ImageServer = Counting  # type: ignore[misc]
    sys.exit(app.main(sys.argv[1:]))
