#!/usr/bin/env python3
"""Says `snap` to the capture devices of a room, and shows what comes back.

    clients/snap.py --server 10.0.0.5:8080

From Python: `snap(server)` returns the announcements that came within the time.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    import bootstrap

    bootstrap.ensure_environment(("websocket",))

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from client_programs.command import Login, add_server_options, ended, login_of, trust_of
from client_programs.relay import Room, announcement
from client_programs.report import describe
from imageserver_client.connection import TRUST, Token, Trust

WAIT = 10.0


def snap(
    server: str,
    room: str = "",
    login: Login | Token | None = None,
    *,
    pictures: int = 1,
    wait: float = WAIT,
    trust: Trust = TRUST,
    show: Callable[[dict[str, Any]], None] = lambda found: None,
) -> list[dict[str, Any]]:
    """Say snap and wait for what the server announces.

    Args:
        server: `host:port` or a URL.
        room: the room of the devices; "": the common one.
        login: name and password, or a token, for a server that asks.
        pictures: how many announcements to wait for.
        wait: seconds to wait for them.
        trust: whom to believe over HTTPS.
        show: is called with each announcement as it comes.

    Returns:
        The announcements, `{"snippet": …, "prediction": …}` each.

    Raises:
        Refused: the server wants a login, or another one.
        Unreachable: there is no such server, or it went away.
    """
    found: list[dict[str, Any]] = []
    with Room(server, room, login, trust) as relay:
        relay.send("snap")
        for text in relay.texts(wait):
            heard = announcement(text)
            if heard is not None:
                found.append(heard)
                show(heard)
                if len(found) >= pictures:
                    break
    return found


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Asks capture devices for a picture, shows what was found.")
    add_server_options(parser)
    parser.add_argument("--room", metavar="ROOM", default="", help="room of the devices (default: the common one)")
    parser.add_argument("--pictures", type=int, metavar="N", default=1, help="pictures to wait for (default 1)")
    parser.add_argument(
        "--wait", type=float, metavar="S", default=WAIT, help="seconds to wait for them (default %(default)g)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return ended(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Do what the options say; returns the exit code. ClientError."""
    login = login_of(options)
    found = snap(
        options.server,
        options.room,
        login,
        pictures=options.pictures,
        wait=options.wait,
        trust=trust_of(options),
        show=lambda heard: print(f"Picture {heard['snippet']}: {describe(heard['prediction'])}", flush=True),
    )
    if len(found) < options.pictures:
        came = f"{len(found)} of {options.pictures} pictures came within {options.wait:g} s"
        allowed = "" if login is None else ", and has your user the role viewer, which commanding it takes"
        print(f"{came}: is a capture device connected{allowed}?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
