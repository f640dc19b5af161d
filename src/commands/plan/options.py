"""What `imageserver plan` is asked, and its words for it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from imageserver import folders
from imageserver.commands.arguments import of
from imageserver.config import kinds
from imageserver.limits import Limits

FIGURES = "plan.json"
_EPILOG = """\
Utilisation: what comes at random waits for what came before. A queue that is busy for a share u of its time makes
each wait for u / (2 x (1 - u)) times the work itself: 0.9 times at 65 %, twice at 80 %, four and a half times at 90 %
(M/D/1). At 60 to 70 % an uneven minute does no harm; beyond 80 % every per cent costs more than the one before.

Spare: with one machine to spare (N + 1), the others carry all cameras at that utilisation when one has failed, or is
being restarted. More, where several fail together: those of one rack, or of one supply.

Not in it: pages and other viewers of streams, TLS, logins. A frame that is replaced by a newer one costs less.
"""
_GIVEN = "in place of what was measured"


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    made = argparse.ArgumentParser(
        description="How many machines so many cameras need, with each figure and where it comes from. The figures of "
        "front end and model are measured on this machine once (--measure), or given.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_demand(made)
    _add_machine(made)
    _add_figures(made)
    made.add_argument("--json", action="store_true", help="all of it as JSON")
    return made


def _add_demand(made: argparse.ArgumentParser) -> None:
    wanted = made.add_argument_group("What is wanted")
    wanted.add_argument(
        "--cameras", type=of(kinds.whole("N", 1, 10**8)), required=True, metavar="N", help="how many there are"
    )
    wanted.add_argument(
        "--hz", type=of(kinds.number("N", 0.001, 1000)), default=10.0, metavar="N",
        help="frames a second of each (default: 10)",
    )  # fmt: skip
    wanted.add_argument(
        "--size", type=of(kinds.size(1000, Limits().max_frame_bytes)), default=40 * 1024, metavar="BYTES",
        help="of a frame, such as 40K (default)",
    )  # fmt: skip
    wanted.add_argument("--model", type=of(kinds.MODEL), required=True, metavar="NAME", help="what runs on each frame")
    wanted.add_argument(
        "--utilisation", type=of(kinds.number("PERCENT", 10, 95)), default=65.0, metavar="PERCENT",
        help="how busy anything is planned to be, see below (default: 65)",
    )  # fmt: skip
    wanted.add_argument(
        "--spare", type=of(kinds.whole("N", 0, 1000)), default=1, metavar="N",
        help="machines that may fail at once (default: 1)",
    )  # fmt: skip


def _add_machine(made: argparse.ArgumentParser) -> None:
    machine = made.add_argument_group("A machine")
    machine.add_argument(
        "--processors", type=of(kinds.whole("N", 1, 4096)), metavar="N", help="default: as many as this one has"
    )
    machine.add_argument(
        "--memory", type=of(kinds.size(2**28, 2**50)), metavar="BYTES", help="such as 64G; default: what this one has"
    )
    machine.add_argument(
        "--network", type=of(kinds.number("GBIT", 0.001, 10_000)), default=10.0, metavar="GBIT",
        help="Gbit/s each way (default: 10; nobody measures it)",
    )  # fmt: skip
    machine.add_argument(
        "--max-connections", type=of(kinds.whole("N", 1, 10**7)), default=Limits().max_connections, metavar="N",
        help="that a front end takes, its setting of this name (default: %(default)s)",
    )  # fmt: skip
    machine.add_argument(
        "--accelerator", action="store_true",
        help="it has a GPU or the like, on which the model runs: measure on such a machine, or give --model-pictures",
    )  # fmt: skip


def _add_figures(made: argparse.ArgumentParser) -> None:
    figures = made.add_argument_group("Figures")
    figures.add_argument("--measure", action="store_true", help="measure on this machine first, and keep it")
    figures.add_argument(
        "--figures", type=of(kinds.PATH), default=folders.data(os.environ) / FIGURES, metavar="FILE",
        help="where what was measured is kept (default: plan.json with the server's data)",
    )  # fmt: skip
    figures.add_argument(
        "--seconds", type=of(kinds.number("S", 0.05, 60)), default=3.0, metavar="S",
        help="for each measurement (default: 3)",
    )  # fmt: skip
    figures.add_argument("--picture", type=Path, metavar="FILE", help="that the model is measured with")
    figures.add_argument("--models", type=Path, metavar="DIR", help="the models folder (default: the server's)")
    for name, low, high, what in (
        ("front-ms", 0.0001, 1000, "ms of processor time for a frame at a front end"),
        ("front-memory", 1, 10**6, "MB of a front end without cameras"),
        ("camera-memory", 0, 10**6, "KB of a camera that is connected"),
        ("answer-bytes", 1, 10**6, "bytes of an answer"),
        ("model-ms", 0.0001, 10**6, "ms of processor time for a picture in a worker, decoding included"),
        ("model-memory", 1, 10**6, "MB of a process that runs the model"),
        ("model-pictures", 0.001, 10**9, "pictures a second of one accelerator"),
    ):
        figures.add_argument(
            f"--{name}", type=of(kinds.number("N", low, high)), metavar="N", help=f"{what}, {_GIVEN}"
        )  # fmt: skip
