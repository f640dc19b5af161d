"""Make a training set of digits from a folder of labelled pictures, and say what was skipped and why.

    python3 src/training_set.py FOLDER [-o digits.npz]

Pictures are named with their digit first: 7_81491.jpg. The server reads such a folder itself (--training-data FOLDER,
then `train?training_sample=other`); this shows beforehand what it will find. The .npz holds what MNIST's does and fits
--mnist.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

if not __package__:
    # Run as a file: its own folder must not be where imports look first, src/ must.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    import bootstrap

    bootstrap.start(("cv2", "numpy"))

from imageserver import files
from imageserver.errors import TrainingError


def main(argv: list[str] | None = None) -> int:
    """The command: exit code 0, or 2 when the folder cannot be used."""
    try:
        make(_arguments(argv))
    except TrainingError as error:
        print(f"training_set.py: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    about = "Make a training set of digits from a folder of labelled pictures."
    parser = argparse.ArgumentParser(prog="training_set.py", description=about)
    parser.add_argument("folder", type=Path, help="folder with files such as 7_81491.jpg; folders in it count as well")
    parser.add_argument("-o", "--output", type=Path, help=".npz file to write: x_train, y_train, x_test, y_test")
    return parser.parse_args(argv)


def make(options: argparse.Namespace) -> None:
    """Read the folder, report, and write the file if one is named. TrainingError with a sentence."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what is wrong with a picture is said below, once
    from imageserver.training import digit_folder, weights

    try:
        found = digit_folder.read(options.folder)
    except OSError as error:
        advice = "give a folder with files such as 7_81491.jpg"
        raise TrainingError(f"{error.filename} cannot be read: {error.strerror}; {advice}") from error
    except TrainingError as error:
        raise TrainingError(f"{options.folder}: {error}") from error
    for name, reason in found.skipped:
        print(f"skipped {name}: {reason}")
    data = found.data
    print("digit  learnt from  held out")
    for number in range(10):
        print(f"{number:5}  {int((data.y_train == number).sum()):11}  {int((data.y_test == number).sum()):8}")
    print(f"  all  {len(data.y_train):11}  {len(data.y_test):8}    skipped: {len(found.skipped)}")
    if options.output is not None:
        try:
            files.replace(options.output, weights.npz(vars(data)))
        except OSError as error:
            raise TrainingError(
                f"{options.output} cannot be written: {error.strerror}; name another file by -o"
            ) from error
        print(f"written to {options.output}")


if __name__ == "__main__":
    sys.exit(main())
