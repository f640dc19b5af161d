#!/usr/bin/env python3
"""Asks ImageServer's legacy TCP port whether chest X-rays show pneumonia. Not for clinical use.

    clients/xray.py picture.jpg                          the ensemble of all models, at 127.0.0.1:50022
    clients/xray.py *.png -m all --server 10.0.0.5       every model, one line each
    clients/xray.py picture.jpg -m INCE --sign ~/.ssh/id_ed25519

Also a module: `with Xray("10.0.0.5") as xray: xray.send(data); xray.ask("INCE")`. Needs nothing but Python; --sign runs
ssh-keygen.

Exit code: 0 when all went well, 1 when a picture got no answer, 2 when something given is wrong or refused, 3 when the
server is not there or went away, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from client_programs.command import ended
from client_programs.xray import MODELS, PORT, Xray, address_of
from imageserver_client.errors import NoAnswer, Refused, Unreachable, Wrong

__all__ = ["MODELS", "NoAnswer", "Refused", "Unreachable", "Xray", "address_of", "main"]

DISCLAIMER = "not for clinical use"


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(
        description=f"Asks an ImageServer whether chest X-rays show pneumonia: {DISCLAIMER}.",
        epilog="models: " + ", ".join(f"{code} {name}" for code, name in MODELS.items()),
    )
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="file of a chest X-ray, JPEG or PNG")
    parser.add_argument("-m", "--model", default="ENSE", metavar="CODE", help="a model's code, or all (default ENSE)")
    parser.add_argument("--server", default="127.0.0.1", metavar="HOST:PORT", help=f"(default 127.0.0.1:{PORT})")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="SSH private key of an app that the server knows")
    parser.add_argument("--check", action="store_true", help="make sure that each picture arrived as it was sent")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds to wait for the server (default 30)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    known = parser()
    options = known.parse_args(arguments)
    return ended(lambda: run(options), known.prog)


def run(options: argparse.Namespace) -> int:
    """Do what the options say; returns the exit code. ClientError."""
    try:
        pictures = [(path, path.read_bytes()) for path in options.pictures]
    except OSError as error:
        raise Wrong(f"{error.filename} cannot be read: {error.strerror}") from None
    with Xray(options.server, key=options.sign, timeout=options.timeout) as xray:
        return _ask_all(xray, pictures, options.model, options.check)


def _ask_all(xray: Xray, pictures: list[tuple[Path, bytes]], model: str, check: bool) -> int:
    """Ask and print; with model `all`, a model that the server does not have is said so and the others are asked."""
    every, code = model.lower() == "all", 0
    for path, data in pictures:
        xray.send(data, check=check)
        for chosen in MODELS if every else [model]:
            try:
                found = f"{xray.ask(chosen)} ({DISCLAIMER})"
            except Refused as error:
                if not every:
                    raise
                found = f"no answer: {error}"
            except NoAnswer as error:
                found, code = f"no answer: {error}", 1
            print(f"{path}  {chosen.upper()}  {found}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
