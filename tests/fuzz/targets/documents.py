"""Files that people write or bring: manifests, labels, settings, and what is trained on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import random
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from tests.fuzz.target import Defect, Target

from imageserver.config import sources
from imageserver.config.table import TABLE
from imageserver.errors import ManifestError, SettingError, TrainingError
from imageserver.inference.shared import labels, manifest
from imageserver.inference.shared.slim import graph
from imageserver.protocols.snap.shared import record
from imageserver.training.lenet import data as training_data

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files cost no disk."""


def model(data: bytes) -> None:
    """A manifest: read, or a sentence for each fault that names the file."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place) / "net"
        folder.mkdir()
        (folder / manifest.FILE).write_bytes(data)
        try:
            found = manifest.read(folder)
        except ManifestError as error:
            if len(str(error)) > 10_000:
                raise Defect(f"a sentence of {len(str(error))} characters") from error
            return
        if found.name != "net" or not 1 <= found.input.channels <= 4:
            raise Defect(f"no model has {found.input}")


def slim_graph(data: bytes) -> None:
    """The graph beside a network in code: read, or None with a sentence."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place) / "net"
        folder.mkdir()
        for name, text in ((manifest.FILE, MODEL), ("model.py", b""), ("weights.npz", b""), (graph.FILE, data)):
            (folder / name).write_bytes(text)
        read = replace_weights(manifest.read(folder))
        said: list[str] = []
        if (graph.find(read, said.append) is None) != bool(said):
            raise Defect("a graph that does not count, and nobody is told")


def picture_file(data: bytes) -> None:
    """A file of the folder of several front ends: what it says of itself is what a server can have written."""
    try:
        head = record.parse(data)
    except ValueError:
        return
    about = (head.kind, head.size, head.received, head.owner, head.camera)
    again = record.parse(record.head(*about, bytes(min(head.prediction, 2**16))))
    if again[:5] != about or again.prediction != min(head.prediction, 2**16):
        raise Defect(f"{head} became {again}")
    if not head.start <= head.picture <= head.end or not f"image/{head.kind}".isascii():
        raise Defect(f"no file is {head}")


def replace_weights(read: manifest.Manifest) -> manifest.Manifest:
    """The same model with weights that a graph may stand for."""
    runtime = dataclasses.replace(read.runtime, runtime="auto", weights=read.folder / "weights.npz")
    return dataclasses.replace(read, runtime=runtime)


def zipped(**entries: bytes) -> bytes:
    """A zip file."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("_", "."), data)
    return found.getvalue()


def list_of_labels(data: bytes) -> None:
    """Labels as text and as JSON."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        for name in ("a.txt", "a.json"):
            path = Path(place) / name
            path.write_bytes(data)
            with contextlib.suppress(ManifestError):
                if any(len(label) > labels.LONGEST for label in labels.read(path)):
                    raise Defect("a label that is too long")


def settings(data: bytes) -> None:
    """Settings in TOML and in a .env file: values, or a sentence for each that is none."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        path = Path(place) / "file"
        path.write_bytes(data)
        for read in (
            lambda faults: sources.from_toml(TABLE, path, faults),
            lambda faults: sources.from_env_file(TABLE, path, faults, lambda _line: None),
        ):
            faults: list[str] = []
            with contextlib.suppress(SettingError):
                sources.merge([read(faults) or []], faults)
            if not all(isinstance(fault, str) and fault for fault in faults):
                raise Defect("no sentence")


def digits(data: bytes) -> None:
    """An .npz of labelled digits."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        path = Path(place) / "mnist.npz"
        path.write_bytes(data)
        with contextlib.suppress(TrainingError):
            found = training_data.load(path, most=1000)
            if found.x_train.shape[1:] != (28, 28) or found.y_train.max() > 9:
                raise Defect("no digits")


def archive(chance: random.Random) -> bytes:
    """An .npz with something wrong in it."""
    buffer = io.BytesIO()
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            shape = (3, 28, 28) if name.startswith("x") else (3,)
            shape = chance.choice((shape, shape, shape, (), (3, 5), (3, 1000, 1000), (0,)))
            kind = chance.choice((np.uint8, np.uint8, np.int64, np.float64, "<U3"))
            content = io.BytesIO()
            np.save(content, np.zeros(shape, kind))
            text = bytearray(content.getvalue())
            if chance.random() < 0.3:
                text[chance.randrange(min(128, len(text)))] = chance.randrange(256)
            file.writestr(f"{name}.npy", bytes(text))
    made = bytearray(buffer.getvalue())
    if chance.random() < 0.3:
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


def sound_archive() -> bytes:
    buffer = io.BytesIO()
    pictures, numbers = np.zeros((3, 28, 28), np.uint8), np.arange(3)
    np.savez_compressed(buffer, x_train=pictures, y_train=numbers, x_test=pictures, y_test=numbers)
    return buffer.getvalue()


MODEL = b"""title = "A net"
kind = "classification"
tcp_code = "INCE"
[input]
width = 28
height = 28
channels = 1
range = [0.0, 1.0]
mean = [0.5]
[output]
labels = ["a", "b"]
threshold = 0.5
[batch]
max_batch = 8
[runtime]
weights = "a.keras"
[jail]
read = ["/srv"]
"""
STATE = b"""kind = "custom"
[input]
width = 16
height = 16
[runtime]
runtime = "python"
[state]
queue = 4
"""
SETTINGS = b'port = 9000\nauth = true\npreload = ["a", "b"]\nmax-frame-bytes = "16M"\nlogin-time = "10s"\nhz = 5.5\n'
_TOML_WORDS = (
    b"[",
    b"]",
    b"=",
    b"'''",
    b'"""',
    b".",
    b"{",
    b"0x",
    b"1979-05-27T07:32:00Z",
    b"inf",
    b"nan",
    b"_",
    b"9" * 400,
    b"9" * 5000,
    b"\\u0000",
    b"[[a]]\n",
    b"#",
)

TARGETS = [
    Target(
        name="manifest",
        run=model,
        seeds=(
            MODEL,
            STATE,
            b'[ensemble]\nmembers = ["a", "b"]\n',
            b'[cluster]\nreplicas = "1..8"\nmemory = "4G"\n',
            b"title = 5\nx = 1\n",
        ),
        covers=(
            "inference.shared.manifest",
            "inference.shared.checked_table",
            "inference.shared.elsewhere.cluster",
            "inference.shared.elsewhere.open_inference",
        ),
        words=_TOML_WORDS,
        longest=2**14,
        seconds=0.03,
        byte_seconds=2e-5,
        memory=2**19,
        byte_memory=400,
    ),
    Target(
        name="graph",
        run=slim_graph,
        seeds=(
            zipped(about_json=b'{"sources": "x"}', graph_xml=b"<net/>", graph_bin=b""),
            zipped(about_json=b"[" * 3000),
        ),
        covers=("inference.shared.slim.graph",),
        words=(b"PK\x01\x02", b"PK\x05\x06", b"about.json", b'{"sources":', b"\xff\xff\xff\xff"),
        longest=2**12,
        seconds=0.03,
        memory=2**20,
        byte_memory=400,
    ),
    Target(
        name="labels",
        run=list_of_labels,
        seeds=(b"cat\ndog\n", b'["cat", "dog"]', b'{"0": ["n01", "tench"], "1": ["n02", "b"]}'),
        covers=("inference.shared.labels",),
        words=(b'"0":', b"[", b"\n", b"{", b"9" * 5000),
        longest=2**16,
        memory=2**22,
        byte_memory=200,
    ),
    Target(
        name="picture-file",
        run=picture_file,
        seeds=(
            record.head("jpeg", 3, "2026-01-01", "anna", "hall", b"{}") + b"abc",
            record.head("png", 0, "t", "\u0416" * 128, "\x00" * 64, b""),
            record.MAGIC + b"[" * 3000,
        ),
        covers=("protocols.snap.shared.record",),
        words=(record.MAGIC, b'"kind":"', b'"size":', b'"prediction":', b"\n", b"\\ud800", b"9" * 5000, b"true"),
        longest=2**13,
        memory=2**19,
    ),
    Target(
        name="settings",
        run=settings,
        seeds=(SETTINGS, b'IMAGESERVER_PORT=9000\nexport IMAGESERVER_AUTH="yes" # a comment\nOTHER=1\n'),
        covers=("config.sources", "config.kinds"),
        words=(
            *_TOML_WORDS,
            b"IMAGESERVER_HZ=",
            b"session-key = ",
            b"user = ",
            b"max-payload-bytes = ",
            b"login-time = ",
        ),
        longest=2**12,
        seconds=0.05,
        byte_seconds=1e-4,
        byte_memory=1000,
    ),
    Target(
        name="digits",
        run=digits,
        seeds=(sound_archive(),),
        covers=("training.lenet.data",),
        shape=archive,
        words=(b"x_train.npy", b"PK\x03\x04", b"(3, 28, 28)", b"'<f8'", b"(", b"\x93NUMPY\x01\0"),
        longest=2**14,
        seconds=0.3,  # a block of bzip2, four times
        memory=2**24,  # the dictionary of LZMA
        byte_memory=200,
    ),
]
