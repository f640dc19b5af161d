"""The conversion of one model, as a process that the server starts: `--control FD --jail TEXT --folder FOLDER`.

A worker asks for it, which can neither start programs nor write into the cache. What went wrong is told in
{"op": "failed", "error": str}; without it the converted model is in the cache when the process ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from pathlib import Path

from imageserver.errors import ImageServerError
from imageserver.inference.shared import lifetime, manifest, weights, wire
from imageserver.jail import entry
from imageserver.jail.rules import Jail


def main() -> None:
    lifetime.end_with_parent()
    parser = argparse.ArgumentParser(prog="conversion", description="Converts a model; the server starts it.")
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the socket to the server")
    parser.add_argument("--jail", type=Jail.from_text, required=True, help="what it may do (jail/rules.py)")
    parser.add_argument("--models-cache", type=Path, required=True, help="folder of converted models")
    parser.add_argument("--folder", type=Path, required=True, help="the model's folder")
    options = parser.parse_args()
    entry.enter(options.jail)
    os.set_inheritable(options.control, False)
    control = socket.socket(fileno=options.control)
    with contextlib.suppress(BlockingIOError):
        if not control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            os._exit(1)  # the server ended before the kernel was asked to tell
    set_environment()
    from imageserver.inference.convert.convert import convert

    code = 0
    try:
        found = manifest.read(options.folder)
        convert(found, weights.check(found), options.models_cache)
    except (ImageServerError, OSError) as error:
        control.sendall(wire.pack({"op": "failed", "error": " ".join(str(error).split())[:1000]}))
        code = 1
    sys.stderr.flush()
    os._exit(code)  # threads of the runtimes must not delay the end


def set_environment() -> None:
    """For the libraries, before they are imported: silence, and no graphics card."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the comparison is with the processor, and needs no device
