"""A model that answers what `marked` of tests/faults/load.py has drawn into a picture, and keeps nothing.

A picture of 64x64 is decoded at an eighth, where each of its squares is one pixel, so that it costs next to nothing.
"""

from __future__ import annotations

from pathlib import Path

NAME = "marks"
REPLICAS = 2
"""Of each front end."""
CPUS = 0.25
"""Of each replica: those of three front ends have room on two nodes with a processor each."""

MANIFEST = f"""
title = "Marks"
description = "Answers with the mark of the camera and the number of the frame that its squares say."
kind = "custom"
[input]
width = 8
height = 8
channels = 1
[batch]
max_batch = 8
[runtime]
runtime = "python"
[cluster]
cpus = {CPUS}
replicas = "{REPLICAS}"
"""
CODE = """
import struct
import zlib

import numpy as np


class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        return [{"label": read(picture), "score": 1.0, "labels": []} for picture in batch]


def read(picture):
    said = np.packbits(picture.reshape(-1) > 127).tobytes()
    mark, number, check = struct.unpack(">HIH", said)
    return f"{mark}.{number}" if zlib.crc32(said[:6]) & 0xFFFF == check else "unreadable"
"""


def write(models: Path) -> None:
    """Put it into a folder of models."""
    folder = models / NAME
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(MANIFEST)
    (folder / "model.py").write_text(CODE)
