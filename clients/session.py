#!/usr/bin/env python3
"""A front end of sessions for ImageServer: starts one, sends frames, ends it, prints everything that comes back.

    clients/session.py                               five photographs at random intervals
    clients/session.py faces/ --key sesame           each picture of a folder, at random intervals
    clients/session.py face.mp4 --hz 30 --json       a video at its own pace, a line of JSON for each answer
    clients/session.py 0 --seconds 20 --user alice   the first webcam; rtsp://… a network camera

Exit code: 0 when all went well, 1 when a frame was refused or got no prediction, 2 when something given is wrong or
refused, 3 when the server is not there or went away, 130 after Ctrl-C (the session is ended all the same).
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    import bootstrap

    bootstrap.ensure_environment(("socketio", "websocket"))

import argparse
import os
import random
import time
from collections.abc import Sequence

from client_programs.command import (
    PASSWORD_VARIABLE,
    TOKEN_VARIABLE,
    add_name_option,
    add_server_options,
    add_stream_options,
    ended,
    login_of,
    positive,
    trust_of,
)
from client_programs.report import SessionReport
from client_programs.session import SessionLink, is_last
from client_programs.sources import Pictures, Source, open_source

KEY_VARIABLE = "SESSION_KEY"
PHOTOS = Path(__file__).resolve().parent / "samples" / "photos"
FIVE = 5
INTERVALS = (0.1, 1.5)
"""Seconds between two pictures, drawn anew each time."""


def film(link: SessionLink, source: Source, report: SessionReport, options: argparse.Namespace) -> None:
    """Send frames until the source, --count or --seconds ends them; print what comes meanwhile."""
    began = time.monotonic()
    end = began + options.seconds if options.seconds else float("inf")
    due = began
    while (now := time.monotonic()) < end and (not options.count or report.sent < options.count):
        if now < due:
            take(link, report, min(due, end) - now)
            continue
        frame = source.next(now - began)
        if frame is None:
            return
        report.frame(frame, link.frame(frame.data, present()))
        due = max(due + (1 / options.hz if options.hz else random.uniform(*INTERVALS)), now)


def finish(link: SessionLink, report: SessionReport, options: argparse.Namespace) -> None:
    """End the session and wait for the models' last words."""
    refused = link.end(present())
    if refused is not None:
        report.note(f"The server does not end the session: {refused}.")
        return
    patience = time.monotonic() + options.timeout
    while (left := patience - time.monotonic()) > 0:
        if take(link, report, left):
            return
    report.note(f"The models said nothing at the end within {options.timeout:g} s.")


def take(link: SessionLink, report: SessionReport, timeout: float) -> bool:
    """Wait at most `timeout` seconds for a prediction and print it; whether it was the last."""
    prediction = link.receive(timeout)
    if prediction is None:
        return False
    if is_last(prediction):
        report.ended(prediction)
        return True
    report.predicted(prediction)
    return False


def present() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def run(options: argparse.Namespace) -> int:
    """Do what the options say; returns the exit code. ClientError."""
    report = SessionReport(options.json)
    login = login_of(options)
    with open_source(options.source, repeat=bool(options.count or options.seconds), note=report.note) as source:
        if options.hz is None and not isinstance(source, Pictures):
            options.hz = 10.0
        trust = trust_of(options)
        with SessionLink(options.server, options.key, login, options.timeout, trust, options.name) as link:
            link.start(present())
            try:
                film(link, source, report, options)
                finish(link, report, options)
            except KeyboardInterrupt:
                finish(link, report, options)
                raise
            finally:
                report.summary()
            return report.exit_code()


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(
        description="Starts a session at ImageServer, sends it frames, ends it, and prints every answer.",
        epilog=f"Without a source: {FIVE} photographs. "
        f"{KEY_VARIABLE} can give the key, {PASSWORD_VARIABLE} or a prompt the password, {TOKEN_VARIABLE} the token.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        nargs="*",
        help="number of a webcam (0 is the first), rtsp:// or http:// of a network camera, a video, a folder of "
        "pictures, or pictures",
    )
    add_server_options(parser)
    parser.add_argument(
        "-k", "--key", metavar="KEY", help="the server's key for sessions; here other people of this machine can see it"
    )
    parser.add_argument(
        "--hz", type=positive, metavar="N", help="frames a second (default: pictures at random intervals, others 10)"
    )
    add_name_option(parser)
    add_stream_options(parser, timeout=15.0)
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    options = parser().parse_args(arguments)
    options.key = options.key if options.key is not None else os.environ.get(KEY_VARIABLE)
    if not options.source:
        options.source = [str(PHOTOS)]
        options.count = options.count or (0 if options.seconds else FIVE)
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    return ended(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
