#!/usr/bin/env python3
"""ImageServer: receives camera frames, runs models on them, sends the predictions back. `-h` says how it is used."""

import sys

if not __package__:  # run as a file
    import bootstrap

    bootstrap.start()

from imageserver.commands.main import main


def command() -> int:
    """The installed command `imageserver`."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(command())
