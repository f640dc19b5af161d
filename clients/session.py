#!/usr/bin/env python3
"""A front end of sessions for ImageServer: starts one, sends frames, ends it, prints everything that comes back.

    clients/session.py                               five photographs at random intervals
    clients/session.py faces/ --key sesame           each picture of a folder, at random intervals
    clients/session.py face.mp4 --hz 30 --json       a video at its own pace, a line of JSON for each answer
    clients/session.py 0 --seconds 20 --user alice   the first webcam

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
import json
import os
import random
import time
from collections.abc import Sequence
from typing import Any

from camera import PASSWORD_VARIABLE, credentials, positive
from camera_link import Lost, Refused, Trust, Unreachable
from camera_report import percentiles
from camera_sources import Frame, Pictures, Source, SourceError, open_source
from session_link import Heard, SessionLink

KEY_VARIABLE = "SESSION_KEY"
PHOTOS = Path(__file__).resolve().parent / "samples" / "photos"
FIVE = 5
INTERVALS = (0.1, 1.5)
"""Seconds between two pictures, drawn anew each time."""

STANDARD = {"success", "timestamp", "recv_ts", "seq", "frame", "age_ms", "errors"}


class Report:
    """Prints what happens, and counts. Lines go to standard output, notes to standard error."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._names: dict[int, str] = {}
        self._ages: list[float] = []
        self._errors: dict[str, int] = {}
        self._sent = self._refused = self._answered = 0

    @property
    def sent(self) -> int:
        return self._sent

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def frame(self, frame: Frame, refused: str | None) -> None:
        """A frame was sent, and acknowledged or refused."""
        self._sent += 1
        self._names[self._sent] = frame.name
        if refused is not None:
            self._refused += 1
            self._print(
                {"file": frame.name, "seq": self._sent, "error": refused},
                f"{self._sent} {frame.name}: refused: {refused}",
            )

    def heard(self, heard: Heard) -> None:
        """A prediction came."""
        found = heard.prediction
        for name in found.get("errors", ()):
            self._errors[name] = self._errors.get(name, 0) + 1
        if heard.last:
            self._print(found, f"at the end: {describe(found)}")
            return
        self._answered += 1
        self._ages.append(float(found.get("age_ms", 0.0)))
        name = self._names.get(found["seq"], "?")
        self._print(
            {**found, "file": name}, f"{found['seq']} {name}: {describe(found)} ({found.get('age_ms', 0):.0f} ms)"
        )

    def summary(self) -> None:
        """Print the figures."""
        figures = {
            "sent": self._sent,
            "refused": self._refused,
            "answered": self._answered,
            "age_ms": percentiles(self._ages),
            "errors": self._errors,
        }
        text = f"{self._sent} sent, {self._answered} answered, {self._refused} refused"
        text += "".join(f"; {name} failed {count} times" for name, count in self._errors.items())
        if self._ages:
            text += "; age " + ", ".join(
                f"{name} {value:.0f} ms" for name, value in (percentiles(self._ages) or {}).items()
            )
        self._print({"summary": figures}, text)

    def exit_code(self) -> int:
        """0 when every frame was taken and there were predictions."""
        return 1 if self._refused or not self._answered else 0

    def _print(self, machine: dict[str, Any], people: str) -> None:
        print(json.dumps(machine, ensure_ascii=False) if self._json else people, flush=True)


def describe(prediction: dict[str, Any]) -> str:
    """What the models said, and who failed."""
    said = [f"{key} {'-' if value is None else value}" for key, value in prediction.items() if key not in STANDARD]
    failed = [f"{name}: {reason}" for name, reason in prediction.get("errors", {}).items()]
    return "; ".join([", ".join(said) or "nothing", *failed])


def film(link: SessionLink, source: Source, report: Report, options: argparse.Namespace) -> None:
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


def finish(link: SessionLink, report: Report, options: argparse.Namespace) -> None:
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


def take(link: SessionLink, report: Report, timeout: float) -> bool:
    """Wait at most `timeout` seconds for a prediction and print it; whether it was the last."""
    heard = link.receive(timeout)
    if heard is not None:
        report.heard(heard)
    return heard is not None and heard.last


def present() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def run(options: argparse.Namespace) -> int:
    """Do what the options say; returns the exit code."""
    report = Report(options.json)
    auth = {}
    if options.key is not None:
        auth["key"] = options.key
    if (login := credentials(options)) is not None:
        auth |= {"user": login[0], "password": login[1]}
    repeat = bool(options.count or options.seconds)
    try:
        with open_source(options.source, repeat=repeat, note=report.note) as source:
            if options.hz is None and not isinstance(source, Pictures):
                options.hz = 10.0
            with SessionLink(options.server, auth, options.timeout, Trust(options.ca, options.insecure)) as link:
                link.start(present())
                try:
                    film(link, source, report, options)
                    finish(link, report, options)
                except KeyboardInterrupt:
                    finish(link, report, options)
                    return 130
                finally:
                    report.summary()
                return report.exit_code()
    except (SourceError, Refused) as error:
        report.note(str(error))
        return 2
    except (Lost, Unreachable) as error:
        report.note(str(error))
        return 3
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="session.py",
        description="Starts a session at ImageServer, sends it frames, ends it, and prints every answer.",
        epilog=f"Without a source: {FIVE} photographs. {KEY_VARIABLE} can give the key, {PASSWORD_VARIABLE} or a prompt the password.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", nargs="*", help="number of a webcam (0 is the first), a video, a folder of pictures, or pictures"
    )
    parser.add_argument(
        "-s", "--server", default="127.0.0.1:8080", metavar="ADDRESS", help="host:port or URL (default %(default)s)"
    )
    parser.add_argument(
        "-k", "--key", metavar="KEY", help="the server's key for sessions; here other people of this machine can see it"
    )
    parser.add_argument("-u", "--user", metavar="NAME", help="name to authenticate with")
    parser.add_argument("--password", metavar="WORD", help="password; here other people of this machine can see it")
    parser.add_argument(
        "--ca", metavar="FILE", help="certificate to trust, PEM: the server's own when it is self-signed; means HTTPS"
    )
    parser.add_argument("--insecure", action="store_true", help="trust any certificate; means HTTPS")
    parser.add_argument(
        "--hz", type=positive, metavar="N", help="frames a second (default: pictures at random intervals, others 10)"
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="stop after N frames; the source repeats")
    parser.add_argument("--seconds", type=positive, metavar="N", help="stop after N seconds; the source repeats")
    parser.add_argument(
        "--timeout",
        type=positive,
        default=15.0,
        metavar="N",
        help="seconds to wait for an answer (default %(default)g)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print every answer, and at the end the summary, as a line of JSON"
    )
    options = parser.parse_args(arguments)
    options.key = options.key if options.key is not None else os.environ.get(KEY_VARIABLE)
    if not options.source:
        options.source = [str(PHOTOS)]
        options.count = options.count or (0 if options.seconds else FIVE)
    return options


if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:])))
