#!/usr/bin/env python3
"""The command's old path: it lies in training/training_set.py."""

import sys

if not __package__:
    import bootstrap

    bootstrap.start()

from imageserver.training.training_set import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
