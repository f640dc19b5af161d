#!/usr/bin/env python3
"""A camera for ImageServer: streams pictures over Socket.IO and prints each prediction.

    clients/camera.py digits/*.png -m lenet          each picture once, one after the other
    clients/camera.py 0 --hz 10 --user alice         the first webcam, until Ctrl-C
    clients/camera.py 0 --name "front door"          the same, with a name that its results carry
    clients/camera.py walk.mp4 --server 10.0.0.5:8080 --json
    clients/camera.py rtsp://10.0.0.9/stream1        a network camera

Pictures given once are sent one at a time, each after the answer to the one before, so none is dropped. With --loop,
--count or --seconds they stream at --hz like a camera: the server answers the newest and drops what it has no time for.

Exit code: 0 when all went well, 1 when a picture got no prediction, 2 when something given is wrong or refused,
3 when the server is not there or went away for good, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    import bootstrap

    bootstrap.ensure_environment(("socketio", "websocket"))

import argparse
import time

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
from client_programs.report import CameraReport
from client_programs.sources import Frame, Pictures, Source, open_source
from imageserver_client.camera import Camera, Result, State

TRIES = 10
IN_FLIGHT = 1000
"""The server is to choose which frames it has time for, so their number is no reason to wait here."""


def stream(camera: Camera, source: Source, report: CameraReport, options: argparse.Namespace) -> None:
    """Send frames at --hz whatever comes back, until the source, --count or --seconds ends it."""
    start = time.monotonic()
    end = start + options.seconds if options.seconds else float("inf")
    due, number = start, 0
    while (now := time.monotonic()) < end and (not options.count or number < options.count):
        if now < due:
            take(camera, report, min(due, end) - now)
            continue
        frame = source.next(number / options.hz)
        if frame is None:
            break
        number += 1
        # A camera that falls behind does not catch up: it goes on at its rate.
        due = max(due + 1 / options.hz, now)
        if camera.is_behind:
            report.skipped += 1  # the network is slower than the camera; an old frame would only be older
        else:
            report.sent(camera.send(frame.data), frame)
    patience = time.monotonic() + options.timeout
    while report.waiting and (left := patience - time.monotonic()) > 0:
        take(camera, report, left)


def ask_each(camera: Camera, source: Pictures, report: CameraReport, options: argparse.Namespace) -> None:
    """Send each picture once and wait for its answer, at --hz at most."""
    for number in range(len(source)):
        start = time.monotonic()
        frame = source.next(number)
        if frame is None:
            break
        report.sent(camera.send(frame.data), frame)
        while report.waiting and (left := start + options.timeout - time.monotonic()) > 0:
            take(camera, report, left, again=frame)
        if report.waiting:
            report.gave_up(options.timeout)
        pause = start + 1 / options.hz - time.monotonic()
        if pause > 0 and number < len(source) - 1:
            time.sleep(pause)


def take(camera: Camera, report: CameraReport, timeout: float, again: Frame | None = None) -> None:
    """Wait at most `timeout` seconds for an answer and report it; for the connection when it is lost.

    `again` is what a new connection has to send anew, since nobody will answer it on the old one.
    """
    found = camera.receive(max(0.0, timeout))
    if isinstance(found, Result):
        report.answered(found)
    elif found is State.DISCONNECTED:
        report.note("The connection to the server is lost; connecting again")
        report.forget_waiting()
        while camera.receive() is not State.CONNECTED:
            pass
        report.note("connected again")
        if again is not None:
            report.sent(camera.send(again.data), again)


def run(options: argparse.Namespace) -> int:
    """Do what the options say; returns the exit code. ClientError."""
    report = CameraReport(options.json)
    once = not (options.loop or options.count or options.seconds)
    with (
        open_source(options.source, repeat=not once, note=report.note) as source,
        Camera(
            options.server,
            login_of(options),
            model=options.model,
            name=options.name,
            trust=trust_of(options),
            timeout=options.timeout,
            in_flight=IN_FLIGHT,
            tries=TRIES,
        ) as camera,
    ):
        try:
            if once and isinstance(source, Pictures):
                ask_each(camera, source, report, options)
                return report.exit_code(len(source))
            stream(camera, source, report, options)
            return report.exit_code()
        finally:
            report.summary()


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(
        description="Streams a webcam, a network camera, a video or pictures to ImageServer, prints predictions.",
        epilog="Pictures given once are sent one at a time, none is dropped. "
        f"{PASSWORD_VARIABLE} or a prompt can give the password, {TOKEN_VARIABLE} the token.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        nargs="+",
        help="number of a webcam (0 is the first), rtsp:// or http:// of a network camera, a video, a folder of "
        "pictures, or pictures",
    )
    add_server_options(parser)
    parser.add_argument("-m", "--model", metavar="NAME", help="model to ask for (default: the server's)")
    parser.add_argument(
        "--hz", type=positive, default=10.0, metavar="N", help="frames a second to send at most (default %(default)g)"
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    add_name_option(parser)
    add_stream_options(parser, timeout=30.0)
    return parser


def main() -> int:
    options = parser().parse_args()
    return ended(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
