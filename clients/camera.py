#!/usr/bin/env python3
"""A camera for ImageServer: streams pictures over Socket.IO and prints each prediction.

    clients/camera.py digits/*.png -m lenet          each picture once, one after the other
    clients/camera.py 0 --hz 10 --user alice         the first webcam, until Ctrl-C
    clients/camera.py walk.mp4 --server 10.0.0.5:8080 --json

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
import contextlib
import getpass
import os
import time
from collections.abc import Sequence

from camera_link import Answer, Link, Lost, Refused, Trust, Unreachable
from camera_report import Report
from camera_sources import Frame, Pictures, Source, SourceError, open_source

PASSWORD_VARIABLE = "CAMERA_PASSWORD"
TRIES = 10


def stream(link: Link, source: Source, report: Report, options: argparse.Namespace) -> None:
    """Send frames at --hz whatever comes back, until the source, --count or --seconds ends it."""
    start = time.monotonic()
    end = start + options.seconds if options.seconds else float("inf")
    due, number = start, 0
    while (now := time.monotonic()) < end and (not options.count or number < options.count):
        if now < due:
            take(link, report, min(due, end) - now)
            continue
        frame = source.next(number / options.hz)
        if frame is None:
            break
        number += 1
        # A camera that falls behind does not catch up: it goes on at its rate.
        due = max(due + 1 / options.hz, now)
        if link.is_behind():
            report.skipped += 1  # the network is slower than the camera; an old frame would only be older
        else:
            report.sent(link.send(frame.data), frame)
    patience = time.monotonic() + options.timeout
    while report.waiting and (left := patience - time.monotonic()) > 0:
        take(link, report, left)


def ask_each(link: Link, source: Pictures, report: Report, options: argparse.Namespace) -> None:
    """Send each picture once and wait for its answer, at --hz at most."""
    for number in range(len(source)):
        start = time.monotonic()
        frame = source.next(number)
        if frame is None:
            break
        report.sent(link.send(frame.data), frame)
        while report.waiting and (left := start + options.timeout - time.monotonic()) > 0:
            take(link, report, left, again=frame)
        if report.waiting:
            report.gave_up(options.timeout)
        pause = start + 1 / options.hz - time.monotonic()
        if pause > 0 and number < len(source) - 1:
            time.sleep(pause)


def take(link: Link, report: Report, timeout: float, again: Frame | None = None) -> None:
    """Wait at most `timeout` seconds for an answer and report it; reconnect when the connection is lost.

    `again` is what a new connection has to send anew, since nobody will answer it on the old one.
    """
    try:
        answer: Answer | None = link.receive(timeout)
    except Lost as lost:
        report.note(f"{lost}; connecting again")
        report.forget_waiting()
        link.reopen(TRIES)
        report.note("connected again")
        if again is not None:
            report.sent(link.send(again.data), again)
        return
    if answer is not None:
        report.answered(answer)


def run(options: argparse.Namespace) -> int:
    """Do what the options say; returns the exit code."""
    report = Report(options.json)
    try:
        once = not (options.loop or options.count or options.seconds)
        with (
            open_source(options.source, repeat=not once, note=report.note) as source,
            Link(
                options.server,
                credentials(options),
                options.model,
                options.timeout,
                Trust(options.ca, options.insecure),
            ) as link,
        ):
            try:
                if once and isinstance(source, Pictures):
                    ask_each(link, source, report, options)
                    return report.exit_code(len(source))
                stream(link, source, report, options)
                return report.exit_code()
            finally:
                report.summary()
    except (SourceError, Refused) as error:
        report.note(str(error))
        return 2
    except Unreachable as error:
        report.note(str(error))
        return 3
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def credentials(options: argparse.Namespace) -> tuple[str, str] | None:
    """Name and password: the latter from --password, the environment, or a prompt. None without --user."""
    if options.user is None:
        return None
    password = options.password if options.password is not None else os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        password = getpass.getpass(f"Password of {options.user}: ") if sys.stdin.isatty() else ""
    return options.user, password


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) <= 1e6:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="camera.py",
        description="Streams a webcam, a video or pictures to ImageServer and prints each prediction.",
        epilog=f"Pictures given once are sent one at a time, none is dropped. {PASSWORD_VARIABLE} or a prompt can give the password, too.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", nargs="+", help="number of a webcam (0 is the first), a video, a folder of pictures, or pictures"
    )
    parser.add_argument(
        "-s", "--server", default="127.0.0.1:8080", metavar="ADDRESS", help="host:port or URL (default %(default)s)"
    )
    parser.add_argument("-u", "--user", metavar="NAME", help="name to authenticate with")
    parser.add_argument("--password", metavar="WORD", help="password; here other people of this machine can see it")
    parser.add_argument(
        "--ca", metavar="FILE", help="certificate to trust, PEM: the server's own when it is self-signed; means HTTPS"
    )
    parser.add_argument("--insecure", action="store_true", help="trust any certificate; means HTTPS")
    parser.add_argument("-m", "--model", metavar="NAME", help="model to ask for (default: the server's)")
    parser.add_argument(
        "--hz", type=positive, default=10.0, metavar="N", help="frames a second to send at most (default %(default)g)"
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="stop after N frames; the source repeats")
    parser.add_argument("--seconds", type=positive, metavar="N", help="stop after N seconds; the source repeats")
    parser.add_argument(
        "--timeout",
        type=positive,
        default=30.0,
        metavar="N",
        help="seconds to wait for an answer (default %(default)g)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print every prediction, and at the end the summary, as a line of JSON"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:])))
