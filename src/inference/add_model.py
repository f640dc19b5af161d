"""Add a model: `python3 src/inference/add_model.py my.onnx --labels labels.txt --try cat.jpg`.

Looks into the file, writes models/<name>/ with a manifest, converts it, and shows what it says about a picture.
A running server notices the new folder by itself. What is done with the file is in adding.py. `--get NAME` brings the
file first, by the index in getting/, which `--list` prints.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

SOURCE = Path(__file__).resolve().parent.parent
if not __package__:
    # Run as a file: its own folder must not be where imports look first, src/ must.
    sys.path[0] = str(SOURCE)
    import bootstrap

    bootstrap.start(("openvino", "cv2"))

from imageserver import bootstrap as programs
from imageserver import files, folders
from imageserver.errors import ModelError
from imageserver.inference import adding
from imageserver.inference.adding import Say
from imageserver.inference.command import ended
from imageserver.inference.convert import process
from imageserver.inference.getting import fetching, index, origins
from imageserver.inference.getting import options as getting
from imageserver.inference.getting.index import IndexedModel
from imageserver.inference.shared import conversion_cache, manifest, progress, weights
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.progress import Step
from imageserver.inference.shared.registry import ADDING
from imageserver.jail import environment, scratch
from imageserver.jail.rules import GIB, Jail
from imageserver.lines import printable

MOST_SAID = 2**20
"""Characters of what the process says that looks into a file."""


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: the model is there and works; 1: a sentence on standard error says why not."""
    known = parser()
    options = known.parse_args(argv)
    getting.check(known, options)
    process.set_environment()
    return ended(known.prog, lambda: getting.print_list(options) if options.list else add(options))


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Add a model to the server's models.")
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        help="an .onnx, .tflite or .keras file, the .xml file of an OpenVINO IR, the folder of a SavedModel, "
        "or an .h5 file with --allow-h5",
    )
    getting.add(parser)
    _add_readings(parser)
    parser.add_argument(
        "--max-batch", type=int, default=8, help="pictures that run together at most (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-h5", action="store_true", help="convert an .h5 file; only if you trust whoever made it"
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=4.0,
        metavar="GIB",
        help="for looking into a foreign file (default: %(default)s)",
    )
    parser.add_argument("--no-jail", action="store_true", help="look into a foreign file with all of your rights")
    parser.add_argument("--replace", action="store_true", help="replace a model of the same name")
    parser.add_argument(
        "--models", type=Path, default=folders.MODELS, help="the models folder (default: the project's)"
    )
    parser.add_argument(
        "--models-cache",
        type=Path,
        default=conversion_cache.cache_folder(),
        help="for converted models (default: %(default)s)",
    )
    return parser


def _add_readings(parser: argparse.ArgumentParser) -> None:
    """The options that say what the file does not."""
    parser.add_argument("--labels", type=Path, help="text file with a label in each line, or JSON as Keras has it")
    parser.add_argument("--try", type=Path, dest="picture", help="a picture to classify afterwards")
    parser.add_argument("--name", help="the model's name (default: from the file's)")
    parser.add_argument(
        "--kind",
        choices=("classification", "embedding", "regression"),
        help="what a network that gives one row of numbers finds (default: classification)",
    )
    parser.add_argument("--title", help="what people read (default: the name)")
    parser.add_argument(
        "--range", type=_range, metavar="LOW,HIGH", help="what the pixel values 0 to 255 become: 0,1 or -1,1 or 0,255"
    )
    for option, help_ in (("--mean", "subtracted from the scaled pixels"), ("--std", "what they are divided by then")):
        parser.add_argument(option, type=_numbers, metavar="R,G,B", help=f"{help_}, in the model's order of colours")
    parser.add_argument("--order", choices=("rgb", "bgr"), help="the order of the colours (default: rgb)")
    parser.add_argument(
        "--preprocessing",
        choices=("stretch", "crop", "letterbox", "letterbox-corner"),
        help="how pictures get its size (default: stretch, or as the network's kind has it)",
    )
    parser.add_argument("--size", type=_size, metavar="WIDTHxHEIGHT", help="for models that take any size")
    parser.add_argument(
        "--constant",
        type=_constant,
        action="append",
        default=[],
        metavar="NAME=NUMBERS",
        help="what an input beside the picture is given: scale=1,1 (again for the next input)",
    )


def _range(text: str) -> list[float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH; for example 0,1") from None
    return [low, high]


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers; for example 0.485,0.456,0.406") from None


def _constant(text: str) -> tuple[str, list[float]]:
    name, equals, numbers = text.rpartition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBERS; for example scale=1,1")
    return name, _numbers(numbers)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT; for example 224x224")
    return int(match[1]), int(match[2])


def add(options: argparse.Namespace) -> None:
    """Do all of it. ImageServerError or OSError with a sentence when it cannot be done; nothing is left behind then."""
    if options.get is None:
        _add_file(options, _target(options, options.name or options.model.stem))
    else:
        _get(options, index.read()[options.get])


def _get(options: argparse.Namespace, model: IndexedModel) -> None:
    """Bring a model of the index, and add it."""
    getting.take(options, model)
    target = _shipped_target(options, model) if model.shipped else _target(options, options.name or model.name)
    origin = origins.origin(options.origin)
    print(f"{model.title} is licensed under {model.license}: {model.page}")
    for file in model.files:
        size = fetching.megabytes(file.size)
        print(f"{file.name} ({size} MB) comes from {origin.name(file)}.", flush=True)
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(fetching.fetched(file, origin, options.models_cache)) for file in model.files]
        if model.shipped:
            _complete(options, target, found)
        else:
            options.model = found[0]
            _add_file(options, target)


def _shipped_target(options: argparse.Namespace, model: IndexedModel) -> Path:
    """The folder of a shipped model that lacks its files. ModelError: what was asked for cannot be."""
    target: Path = options.models / model.name
    if not (target / manifest.FILE).is_file():
        raise ModelError(
            f"there is no {target / manifest.FILE}, which comes with the server and is what these files are for"
        )
    there = [file.name for file in model.files if (target / file.name).exists()]
    if there and not options.replace:
        raise ModelError(f"{there[0]} is in {target} already: say --replace")
    _check_given(options)
    return target


def _target(options: argparse.Namespace, name: str) -> Path:
    """The new model's folder. ModelError: what was asked for cannot be."""
    if options.model is not None:
        _check_file(options)
    _check_given(options)
    if options.name is None:
        name = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    target: Path = options.models / name
    manifest.check_name(target / manifest.FILE, name)
    if target.exists() and not options.replace:
        raise ModelError(f"there is a model {name!r} already: choose another --name, or say --replace")
    return target


def _check_given(options: argparse.Namespace) -> None:
    for file, option in ((options.picture, "--try"), (options.labels, "--labels")):
        if file is not None and not file.is_file():
            raise ModelError(f"there is no file {file}, which {option} names")
    if not options.models.is_dir():
        raise ModelError(f"there is no models folder {options.models}")
    if not os.access(options.models, os.W_OK | os.X_OK):
        raise ModelError(f"you may not write into {options.models}: name another by --models, here and to the server")


def _check_file(options: argparse.Namespace) -> None:
    from imageserver.inference.convert import inspect

    if not options.model.exists():
        raise ModelError(f"there is no {options.model}")
    inspect.check_kind(options.model, options.allow_h5)


def _add_file(options: argparse.Namespace, target: Path) -> None:
    name = target.name
    said: list[str] = []

    def say(text: str) -> None:
        print(text, flush=True)
        said.append(text)

    with files.making(options.models, ADDING) as parent, progress.shown(f"Adding {name}") as step:
        folder = parent / name
        folder.mkdir()
        if kinds.of(options.model) is None:
            adding.add(options, folder, options.models_cache, lambda text: step(None, text), say)
        else:
            _add_in_jail(options, folder, step, say)
        files.publish(folder, target)
    print(f"The model {name!r} is in {target}. A running server finds it within two seconds.")
    if any(text.startswith(adding.WARNING) for text in said):
        print("Check model.toml there: what could only be guessed is what the warnings above are about.")


def _complete(options: argparse.Namespace, target: Path, found: list[Path]) -> None:
    """Put files into the folder of a shipped model, if it works with them."""
    with files.making(options.models, ADDING) as parent, progress.shown(f"Adding {target.name}") as step:
        folder = parent / target.name
        shutil.copytree(target, folder, symlinks=True)
        for file in found:
            shutil.copyfile(file, folder / file.name)
        adding.run(options, folder, options.models_cache, lambda text: step(None, text), print)
        files.publish(folder, target)
    print(f"The model {target.name!r} in {target} has its files. A running server finds them within two seconds.")


def _add_in_jail(options: argparse.Namespace, folder: Path, step: Step, say: Say) -> None:
    """Have a process look into the file that has no rights but to read it, and to write what comes of it.

    ImageServerError or OSError with a sentence, also where the file ends that process.
    """
    try:
        parts = weights.files_of(options.model)
    except ValueError as error:
        raise ModelError(f"{options.model.name} {error}") from error
    except OSError as error:
        raise ModelError(f"{options.model.name} cannot be read: {error.strerror or error}") from error
    cache = options.models_cache
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    read = [str(path.resolve()) for path in (*parts, options.labels, options.picture) if path is not None]
    with files.making(cache, ".converting-") as room:
        place = scratch.SCRATCH.new()
        jail = Jail(
            scratch=str(place),
            enforced=not options.no_jail,
            read=tuple(read),
            write=(str(folder.resolve()), str(room.resolve())),
            memory=int(options.memory * GIB),
            largest_file=0,
        )
        given = ["--jail", jail.to_text(), "--folder", str(folder), "--cache", str(room)]
        command = programs.command("inference.adding", *given, "--options", json.dumps(vars(options), default=str))
        try:
            _follow(command, options.model.name, step, say)
        finally:
            scratch.remove(place)
        _check_made(folder)
        conversion_cache.take_over(room, cache, folder.name)


def _follow(command: list[str], name: str, step: Step, say: Say) -> None:
    """Run the process and say what it says. ModelError when it fails, or takes too long."""
    variables = environment.scrubbed(os.environ)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables
    ) as child:
        clock = threading.Timer(conversion_cache.LIMIT, child.kill)
        clock.start()
        failure = ""
        try:
            assert child.stdout is not None
            for line in _lines(child.stdout):
                failure = str(line.get("error", failure))
                if "step" in line:
                    step(None, printable(str(line["step"])))
                if "say" in line:
                    say(printable(str(line["say"])))
        finally:
            late = not clock.is_alive()
            clock.cancel()
            child.kill()
        code = child.wait()
    if failure:
        raise ModelError(printable(failure))
    if late:
        raise ModelError(f"{name} took more than {conversion_cache.LIMIT:g} s to look into: it may be damaged")
    if code:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ModelError(
            f"{name} ended the process that looked into it ({how}): it is damaged, or needs more than --memory"
        )


def _lines(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """What the process says, until it closes its output. ModelError where that is too much, or not understood."""
    left = MOST_SAID
    while line := stream.readline(left + 1):
        left -= len(line)
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if left < 0 or not isinstance(found, dict):
            raise ModelError("the process that looked into the file said what cannot be understood: it is damaged")
        yield found


def _check_made(folder: Path) -> None:
    """Whether a process that looked into a stranger's file has made nothing but data. ImageServerError."""
    for path in folder.rglob("*"):
        plain = path.is_dir() or (path.is_file() and path.suffix != ".py")
        if path.is_symlink() or not plain:
            raise ModelError(f"looking into the file made {path.name[:100]!r}, which no model of this kind has")
    manifest.read(folder)


if __name__ == "__main__":
    sys.exit(main())
