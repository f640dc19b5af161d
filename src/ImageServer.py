#!/usr/bin/env python3
"""ImageServer: receives camera frames, runs models on them, sends the predictions back. `-h` lists the options."""

import sys

if not __package__:  # run as a file
    import bootstrap

    bootstrap.start()

from imageserver.app.server import main


def command() -> int:
    """The installed command `imageserver`."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(command())
