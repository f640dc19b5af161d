"""A training job: a program that the server starts.

Tells the server over its socket (messages of wire.pack) how it gets on:

    {"op": "prepared", "text": str}                       the data was found
    {"op": "failed", "error": str}                        it, or the training, came to nothing; the process ends
    {"op": "progress", "phase": str, "epoch", "epochs": int, "part", "loss", "accuracy", "seconds_left": float}
    {"op": "evaluating"}
    {"op": "done", "accuracy": float, "former": float | null}     share of held-out pictures that each model gets right

and hears {"op": "cancel"}. What it has to download it fetches before it goes into its jail. It ends when the server
does, runs at the lowest priority, and replaces nothing: the server decides what becomes of the version that it wrote.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import os
import shutil
import socket
import sys
import threading
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageserver import files
from imageserver.errors import ImageServerError, TrainingError
from imageserver.inference import prepare
from imageserver.inference.shared import conversion_cache, wire
from imageserver.inference.shared.registry import MAKING
from imageserver.inference.worker.main import bind_life_to_parent, set_environment
from imageserver.jail import entry
from imageserver.jail.rules import Jail

if TYPE_CHECKING:
    from imageserver.inference.worker.context import LoadContext
    from imageserver.training.lenet.data import Data
    from imageserver.training.lenet.training import Options, Progress

NICE = 19
DOWNLOAD_TIMEOUT = 10.0
"""Seconds without a byte after which a download counts as impossible."""

MNIST = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
MOST_BYTES = 16 * 2**20

TEACHERS_FROM = 300_000
"""Pictures shown below which the training does without teachers: they would take longer than it does."""


class TrainingJob:
    """One run. Messages go out on `control`; a cancellation or the server's end comes in on it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._cancelled = threading.Event()
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def tell(self, op: str, **more: Any) -> None:
        self._control.sendall(wire.pack({"op": op, **more}))

    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def progress(self, state: Progress) -> None:
        self.tell("progress", **asdict(state))

    def _listen(self) -> None:
        unpacker = wire.Unpacker()
        with contextlib.suppress(OSError):
            while data := self._control.recv(4096):
                for message in unpacker.feed(data):
                    if message["op"] == "cancel":
                        self._cancelled.set()
        os._exit(1)  # the server is gone


def mnist(given: Path | None) -> Path:
    """Where MNIST is: the file `given`, else Keras's cache, else a download into it.

    TrainingError says what to provide.
    """
    if given is not None:
        if not given.is_file():
            raise TrainingError(
                f"the file {given.name} named by --mnist is not there: provide it, or leave the setting out"
            )
        return given
    cached = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets" / "mnist.npz"
    if not cached.is_file():
        try:
            download(cached)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise TrainingError(
                "MNIST is neither on this machine nor can it be downloaded: "
                "the operator can provide the file mnist.npz by --mnist"
            ) from error
    return cached


def download(file: Path) -> None:
    """MNIST from where Keras has it, to where Keras looks for it. OSError, HTTPException, ValueError: not this file."""
    print(f"downloading {MNIST}", file=sys.stderr, flush=True)
    with urllib.request.urlopen(MNIST, timeout=DOWNLOAD_TIMEOUT) as answer:
        data = answer.read(MOST_BYTES)
    if hashlib.sha256(data).hexdigest() != MNIST_SHA256:
        raise ValueError("what was downloaded is not MNIST")
    file.parent.mkdir(parents=True, exist_ok=True)
    files.replace(file, data)


def read_data(options: argparse.Namespace) -> tuple[Data, str]:
    """The training data, and a sentence about it. TrainingError."""
    from imageserver.training import digit_folder
    from imageserver.training.lenet import data as lenet_data

    if options.pictures is not None:
        try:
            found = digit_folder.read(options.pictures, most=options.most_pictures)
        except OSError as error:
            raise TrainingError(
                f"the folder of labelled pictures named by --training-data cannot be read: {error.strerror}"
            ) from error
        for name, reason in found.skipped[:20]:
            print(f"training data: {name} skipped: {reason}", file=sys.stderr, flush=True)
        data = found.data
        skipped = f"; {len(found.skipped)} files were skipped" if found.skipped else ""
    else:
        path = mnist(options.mnist)
        try:
            data = lenet_data.load(path, options.most_pictures)
        except TrainingError as error:
            # Clients read it, so it names the file and not where it lies.
            raise TrainingError(str(error).replace(str(path), path.name)) from error
        skipped = ""
    return data, f"{len(data.y_train)} pictures to learn from, {len(data.y_test)} held out{skipped}"


def plan(samples: int, threads: int) -> Options:
    """How long to train: `samples` pictures shown, 0: as long as is good."""
    from imageserver.training.lenet.training import Options

    if not samples:
        return Options(threads=threads)
    if samples < TEACHERS_FROM:
        return Options(samples=samples, teachers=0, threads=threads)
    return Options(
        samples=samples, teacher_samples=samples * Options.teacher_samples // Options.samples, threads=threads
    )


def accuracy(folder: Path, data: Data, context: LoadContext) -> float:
    """Share of the held-out pictures that the model in `folder` gets right, served as a worker serves it.

    ImageServerError.
    """
    from imageserver.inference.worker import loader
    from imageserver.inference.worker.decode import Picture
    from imageserver.inference.worker.predictor import Network

    serving = loader.load(folder, context)
    if not isinstance(serving, Network):
        raise TrainingError("the model is not a network")
    step, right = serving.manifest.batch.max_batch, 0
    for at in range(0, len(data.y_test), step):
        pictures = [Picture(pixels, (pixels.shape[1], pixels.shape[0])) for pixels in data.x_test[at : at + step]]
        right += int((serving.scores(pictures).values.argmax(axis=1) == data.y_test[at : at + step]).sum())
    return right / len(data.y_test)


def run(options: argparse.Namespace, job: TrainingJob) -> None:
    """Train, write the version, compare. TrainingError."""
    data, text = read_data(options)
    job.tell("prepared", text=text)
    from imageserver.inference.worker.backends.keras import import_quietly
    from imageserver.inference.worker.context import LoadContext
    from imageserver.inference.worker.main import note_to_stderr
    from imageserver.training import weights
    from imageserver.training.lenet import training

    import_quietly()  # the operator's log is no place for its greetings
    trained = training.train(data, plan(options.samples, options.threads), job.progress, job.cancelled)
    job.tell("evaluating")
    version: Path = options.version
    context = LoadContext(
        note_to_stderr(os.getpid()),
        options.threads,
        options.models_cache,
        # Here, since TensorFlow runs already; so the workers find it in the cache.
        convert=lambda found: prepare.prepare(found, options.models_cache),
    )
    with files.making(version.parent, MAKING) as made:
        folder = made / version.name
        folder.mkdir()
        for file in options.folder.iterdir():  # the manifest, the architecture; the weights are the new ones
            if file.is_file() and file.name not in (weights.WEIGHTS, training.RECORD) and not file.name.startswith("."):
                shutil.copyfile(file, folder / file.name)
        training.save(trained, folder)
        new = accuracy(folder, data, context)
        files.publish(folder, version)
    try:
        former: float | None = accuracy(options.folder, data, context)
    except ImageServerError as error:
        print(f"the serving model cannot be compared: {error}", file=sys.stderr, flush=True)
        former = None
    if job.cancelled():
        raise TrainingError("the training was cancelled")
    job.tell("done", accuracy=new, former=former)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training_job", description="A training job of ImageServer; the server starts it."
    )
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the socket to the server")
    parser.add_argument("--jail", type=Jail.from_text, required=True, help="what it may do (jail/rules.py)")
    parser.add_argument("--model", required=True, choices=["lenet"])
    parser.add_argument("--folder", type=Path, required=True, help="folder of the model that serves")
    parser.add_argument("--version", type=Path, required=True, help="folder to write the new one into")
    parser.add_argument("--mnist", type=Path, help="mnist.npz")
    parser.add_argument("--pictures", type=Path, help="folder of labelled pictures, in place of MNIST")
    parser.add_argument("--samples", type=int, default=0, help="pictures shown in training; 0: as many as is good")
    parser.add_argument("--most-pictures", type=int, required=True, help="pictures that may be learnt from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models-cache", type=Path, default=conversion_cache.cache_folder())
    return parser.parse_args(argv)


def reason(error: TrainingError | MemoryError | OSError) -> str:
    """Why it came to nothing, in one line for clients, without a path."""
    match error:
        case MemoryError():
            return "it took more memory than --worker-memory allows"
        case OSError():
            return f"a file could not be read or written ({error.strerror or type(error).__name__})"
        case _:
            return " ".join(str(error).split())


def main() -> None:
    bind_life_to_parent()
    os.nice(NICE)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # and it never takes a processor from whoever has it
    options = arguments()
    os.set_inheritable(options.control, False)
    control = socket.socket(fileno=options.control)
    code = 0
    try:
        if options.pictures is None:
            options.mnist = mnist(options.mnist)  # from the jail nothing could be downloaded
        entry.enter(options.jail)
        set_environment(options.threads, 50_000_000)
        run(options, TrainingJob(control))
    except (TrainingError, MemoryError, OSError) as error:
        with contextlib.suppress(OSError):
            control.sendall(wire.pack({"op": "failed", "error": reason(error)}))
        code = 1
    except ImageServerError as error:
        print(f"the trained model cannot be used: {error}", file=sys.stderr, flush=True)
        code = 1
    sys.stderr.flush()
    os._exit(code)  # threads of the runtimes must not delay the end
