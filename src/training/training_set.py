"""Make a training set of digits from a folder of labelled pictures, and say what was skipped and why.

    python3 src/training_set.py FOLDER [-o digits.npz]

Pictures are named with their digit first: 7_81491.jpg. The server reads such a folder itself (--training-data FOLDER, then
`train?training_sample=other`); this shows beforehand what it will find. The .npz has MNIST's form and fits --mnist.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from imageserver.errors import TrainingError


def main(argv: list[str] | None = None) -> int:
    """The command: exit code 0, or 2 when the folder cannot be used."""
    about = "Make a training set of digits from a folder of labelled pictures."
    parser = argparse.ArgumentParser(prog="training_set.py", description=about)
    parser.add_argument("folder", type=Path, help="folder with files such as 7_81491.jpg; folders in it count as well")
    parser.add_argument("-o", "--output", type=Path, help=".npz file to write: x_train, y_train, x_test, y_test")
    options = parser.parse_args(argv)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what is wrong with a picture is said below, once
    import numpy as np

    from imageserver.training import digit_folder

    if not options.folder.is_dir():
        print(
            f"training_set.py: there is no folder {options.folder}: give one with files such as 7_81491.jpg",
            file=sys.stderr,
        )
        return 2
    try:
        found = digit_folder.read(options.folder)
    except TrainingError as error:
        print(f"training_set.py: {options.folder}: {error}", file=sys.stderr)
        return 2
    for name, reason in found.skipped:
        print(f"skipped {name}: {reason}")
    data = found.data
    print("digit  learnt from  held out")
    for number in range(10):
        print(f"{number:5}  {int((data.y_train == number).sum()):11}  {int((data.y_test == number).sum()):8}")
    print(f"  all  {len(data.y_train):11}  {len(data.y_test):8}    skipped: {len(found.skipped)}")
    if options.output is not None:
        part = options.output.with_name(f".{options.output.name}.{os.getpid()}.npz")
        try:
            np.savez_compressed(
                part, x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test
            )
            part.replace(options.output)
        except OSError as error:
            print(
                f"training_set.py: {options.output} cannot be written: {error.strerror}; name another file by -o",
                file=sys.stderr,
            )
            return 2
        finally:
            part.unlink(missing_ok=True)
        print(f"written to {options.output}")
    return 0
