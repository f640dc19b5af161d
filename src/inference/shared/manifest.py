"""What models/<name>/model.toml says: parsed and checked, nothing loaded. Reference: docs/models.md.

Read by both sides of the wall, so it is pure: no numpy, no picture, no weights are touched.
Every wrong value is a `ManifestError` that names the file, the key and the reason; unknown keys are refused,
because a misspelt key that is silently ignored costs its author an afternoon.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver.errors import ManifestError

FILE = "model.toml"
CODE = "model.py"

RESERVED = (
    "about", "browser", "camera", "classify", "dashboard", "docs", "engine.io", "favicon.ico", "health", "list_nn", "login", "logout",
    "metrics", "models", "openapi.json", "robots.txt", "sessions", "snippets", "socket.io", "static", "status", "streams", "train",
    "users", "v1", "v2", "view", "ws",
)  # fmt: skip
"""Names that are routes, or read like one: a model called so would hide the route `/<name>` or be hidden by it."""

PREPROCESSINGS = ("none", "stretch", "letterbox", "crop", "digit", "xray")
"""Names that `input.preprocessing` may have; what they do is in preprocessing.py."""

KINDS = ("classification", "detection", "custom")
RUNTIMES = ("auto", "tensorflow", "openvino", "python")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TCP_CODE = re.compile(r"[A-Z!]{4}")
_MAX_BYTES = 2**20  # of a manifest or a list of labels; both are read in the server process
_REQUIRED = object()


@dataclass(frozen=True)
class Input:
    """The array that the model takes for one picture."""

    width: int
    height: int
    channels: int  # 1 grey, 3 colour
    order: str  # "rgb" or "bgr"
    range: tuple[float, float]  # pixel values 0..255 map to it
    mean: tuple[float, ...]  # one for each channel, in their `order` and in the units of `range`; empty: none
    std: tuple[float, ...]
    layout: str  # "nhwc" or "nchw"
    preprocessing: str


@dataclass(frozen=True)
class Output:
    """What the model's numbers mean."""

    labels: tuple[str, ...]  # empty where the model names its own
    activation: str  # "none", "softmax", "sigmoid": applied after the model
    threshold: float | None  # 0..1; labels and boxes below it are left out


@dataclass(frozen=True)
class Batch:
    """How frames of several streams run together."""

    max_batch: int
    max_delay_ms: float


@dataclass(frozen=True)
class Runtime:
    """What runs the model, and with which weights."""

    runtime: str
    precision: str  # "float32" or "bfloat16"
    weights: Path | None  # a file, or the folder of a SavedModel
    sha256: str | None
    weights_hint: str  # for the person who has to fetch them


@dataclass(frozen=True)
class State:
    """How a model that keeps state from frame to frame wants its frames."""

    frame: str  # "rgb": uint8 array (height, width, 3); "pil": a PIL image
    every_frame: bool  # False: under load only the newest
    queue: int  # frames that may wait
    time_limit_s: float  # for one call
    parallel: int  # objects of the model's class at most, each with a thread; sessions are spread over them


@dataclass(frozen=True)
class Manifest:
    """One model.toml."""

    folder: Path
    name: str
    title: str
    description: str
    kind: str
    tcp_code: str | None  # four characters: its name in the legacy TCP protocol
    input: Input
    output: Output
    batch: Batch
    runtime: Runtime
    state: State | None  # None: stateless
    members: tuple[str, ...]  # names of the models that an ensemble averages; empty: no ensemble

    @property
    def code(self) -> Path:
        """Where the model's own code would be; it need not exist."""
        return self.folder / CODE

    @property
    def stateful(self) -> bool:
        return self.state is not None


def read(folder: Path) -> Manifest:
    """The manifest in `folder`, whose name is the model's. ManifestError when anything in it is wrong."""
    file = folder / FILE
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ManifestError(f"{file}: larger than {_MAX_BYTES} bytes")
        data = tomllib.loads(text.decode())
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"{file}: not valid TOML: {error}") from error
    check_name(file, folder.name)
    root = _Table(file, "", data)
    kind = root.choice("kind", KINDS)
    parsed_input = _input(root.table("input"))
    runtime = _runtime(root.table("runtime"), folder)
    stateful = "state" in data
    manifest = Manifest(
        folder=folder,
        name=folder.name,
        title=root.text("title", folder.name, 100),
        description=root.text("description", "", 4000),
        kind=kind,
        tcp_code=_tcp_code(root),
        input=parsed_input,
        output=_output(root.table("output"), folder),
        batch=_batch(root.table("batch")),
        runtime=runtime,
        state=_state(root.table("state")) if stateful else None,
        members=_members(root.table("ensemble"), folder.name),
    )
    root.done()
    _check_together(root, manifest)
    return manifest


def check_name(file: Path, name: str) -> None:
    """ManifestError when no model may be called `name`."""
    if name in RESERVED:
        raise ManifestError(
            f"{file}: a model may not be called {name!r}, because that is a route of the server: rename its folder"
        )
    if not _NAME.fullmatch(name):
        raise ManifestError(
            f"{file}: the folder's name {name!r} is the model's, and may hold only a-z, 0-9, - and _ (at most 63)"
        )


def _check_together(root: _Table, manifest: Manifest) -> None:
    """What no key can be wrong about alone."""
    runtime = manifest.runtime
    if manifest.members:
        if (
            manifest.kind != "classification"
            or runtime.weights is not None
            or manifest.stateful
            or not manifest.output.labels
        ):
            raise root.wrong(
                "ensemble", "averages the scores of its members: it needs output.labels, no weights, no state"
            )
        return
    if runtime.runtime == "python":
        if not manifest.code.is_file():
            raise root.wrong("runtime.runtime", f'"python" needs the file {CODE} beside {FILE}')
        return
    if manifest.stateful:
        raise root.wrong("state", 'a model that keeps state is code: it needs runtime.runtime = "python"')
    if manifest.kind != "classification":
        raise root.wrong(
            "kind", f'{manifest.kind!r} needs runtime.runtime = "python" and a {CODE} that says what was found'
        )
    if runtime.weights is None:
        raise root.wrong(
            "runtime.weights", f"missing: the file or SavedModel folder that {runtime.runtime!r} is to load"
        )
    if runtime.weights.suffix not in (".keras", "") and not manifest.code.is_file():
        name = runtime.weights.name
        raise root.wrong(
            "runtime.weights", f"{name!r} holds weights only: {CODE} with a function build() is needed beside {FILE}"
        )


def _input(table: _Table) -> Input:
    channels = table.integer("channels", 1, 3, 3)
    if channels == 2:
        raise table.wrong("channels", "must be 1 (grey) or 3 (colour), not 2")
    low_high = table.numbers("range", (0.0, 255.0), 2)
    if low_high[0] >= low_high[1]:
        raise table.wrong("range", f"must be [low, high] with low < high, not {list(low_high)}")
    mean, std = table.numbers("mean", (), channels), table.numbers("std", (), channels)
    if any(value <= 0 for value in std):
        raise table.wrong("std", f"every value must be above 0, not {list(std)}")
    parsed = Input(
        width=table.integer("width", 1, 8192),
        height=table.integer("height", 1, 8192),
        channels=channels,
        order=table.choice("order", ("rgb", "bgr"), "rgb"),
        range=(low_high[0], low_high[1]),
        mean=mean,
        std=std,
        layout=table.choice("layout", ("nhwc", "nchw"), "nhwc"),
        preprocessing=table.choice("preprocessing", PREPROCESSINGS, "stretch"),
    )
    table.done()
    return parsed


def _output(table: _Table, folder: Path) -> Output:
    labels = table.texts("labels")
    labels_file = table.text("labels_file", "", 255)
    classes = table.integer("classes", 0, 100_000, 0)
    if labels and labels_file:
        raise table.wrong("labels_file", "give labels or labels_file, not both")
    if labels_file:
        path = _inside(table, "labels_file", folder, labels_file)
        if path.is_file():
            try:
                labels = read_labels(path)
            except ManifestError as error:
                raise table.wrong("labels_file", str(error)) from error
        elif not classes:
            raise table.wrong("labels_file", f"there is no file {labels_file!r} beside {FILE}")
    if classes and not labels:
        labels = tuple(f"class {index}" for index in range(classes))
    if classes and len(labels) != classes:
        raise table.wrong("classes", f"is {classes}, but there are {len(labels)} labels")
    threshold = table.number("threshold", 0.0, 1.0, None)
    parsed = Output(
        labels=labels,
        activation=table.choice("activation", ("none", "softmax", "sigmoid"), "none"),
        threshold=threshold,
    )
    table.done()
    return parsed


def read_labels(path: Path) -> tuple[str, ...]:
    """A text file with a label in each line, or JSON: a list of labels, or Keras' {"0": ["n01440764", "tench"], …}.

    ManifestError when it cannot be read or is neither.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ManifestError(f"{path.name!r} is larger than {_MAX_BYTES} bytes")
        text = path.read_text("utf-8")
        if path.suffix != ".json":
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        data = json.loads(text)
        if isinstance(data, dict):
            data = [data[str(index)] for index in range(len(data))]
        return tuple(str(entry[-1]) if isinstance(entry, list) else str(entry) for entry in data)
    except OSError as error:
        raise ManifestError(f"{path.name!r} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ManifestError(f"{path.name!r} is no list of labels: {error}") from error


def _batch(table: _Table) -> Batch:
    parsed = Batch(table.integer("max_batch", 1, 256, 8), table.number("max_delay_ms", 0.0, 1000.0, 0.0) or 0.0)
    table.done()
    return parsed


def _runtime(table: _Table, folder: Path) -> Runtime:
    weights = table.text("weights", "", 255)
    sha256 = table.text("sha256", "", 64)
    if sha256 and not _SHA256.fullmatch(sha256):
        raise table.wrong("sha256", "must be 64 hexadecimal digits in lower case, as sha256sum prints them")
    parsed = Runtime(
        runtime=table.choice("runtime", RUNTIMES, "auto"),
        precision=table.choice("precision", ("float32", "bfloat16"), "float32"),
        weights=_inside(table, "weights", folder, weights) if weights else None,
        sha256=sha256 or None,
        weights_hint=table.text("weights_hint", "", 1000),
    )
    table.done()
    return parsed


def _state(table: _Table) -> State:
    parsed = State(
        frame=table.choice("frame", ("rgb", "pil"), "rgb"),
        every_frame=table.boolean("every_frame", False),
        queue=table.integer("queue", 1, 10_000, 64),
        time_limit_s=table.number("time_limit_s", 0.001, 3600.0, 5.0) or 5.0,
        parallel=table.integer("parallel", 1, 64, 8),
    )
    table.done()
    return parsed


def _members(table: _Table, name: str) -> tuple[str, ...]:
    members = table.texts("members")
    if name in members or len(set(members)) < len(members):
        raise table.wrong("members", "must name other models, each once")
    table.done()
    return members


def _tcp_code(root: _Table) -> str | None:
    code = root.text("tcp_code", "", 4).upper()
    if code and not _TCP_CODE.fullmatch(code):
        raise root.wrong("tcp_code", f"must be four letters (or !), not {code!r}")
    return code or None


def _inside(table: _Table, key: str, folder: Path, name: str) -> Path:
    """`folder/name`. A manifest may come from elsewhere, so it may not point outside its own folder."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise table.wrong(key, f"must name something in the model's own folder, not {name!r}")
    return folder / path


class _Table:
    """One table of the file: each getter takes a key out, checks it, and `done` refuses what is left."""

    def __init__(self, file: Path, section: str, data: dict[str, Any]) -> None:
        self._file, self._section, self._data = file, section, dict(data)
        self._asked: list[str] = []

    def wrong(self, key: str, reason: str) -> ManifestError:
        dotted = f"{self._section}.{key}" if self._section else key
        return ManifestError(f"{self._file}: {dotted}: {reason}")

    def _take(self, key: str, default: Any) -> Any:
        self._asked.append(key)
        value = self._data.pop(key, default)
        if value is _REQUIRED:
            raise self.wrong(key, "missing")
        return value

    def table(self, key: str) -> _Table:
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be a table [{key}], not {value!r}")
        return _Table(self._file, key, value)

    def text(self, key: str, default: str, longest: int) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, f"must be text in quotes, not {value!r}")
        if len(value) > longest:
            raise self.wrong(key, f"is {len(value)} characters long, at most {longest} are allowed")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: Any = _REQUIRED) -> str:
        value = self._take(key, default)
        if value not in choices:
            raise self.wrong(key, f"must be one of {', '.join(choices)}, not {value!r}")
        return str(value)

    def integer(self, key: str, low: int, high: int, default: Any = _REQUIRED) -> int:
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    def number(self, key: str, low: float, high: float, default: float | None) -> float | None:
        value = self._take(key, default)
        if value is None:
            return None
        if not _is_number(value) or not low <= value <= high:
            raise self.wrong(key, f"must be a number from {low:g} to {high:g}, not {value!r}")
        return float(value)

    def numbers(self, key: str, default: tuple[float, ...], count: int) -> tuple[float, ...]:
        value = self._take(key, None)
        if value is None:
            return default
        if not isinstance(value, list) or len(value) != count or not all(_is_number(entry) for entry in value):
            raise self.wrong(key, f"must be a list of {count} numbers, not {value!r}")
        return tuple(float(entry) for entry in value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) and entry for entry in value):
            raise self.wrong(key, "must be a list of texts")
        return tuple(value)

    def boolean(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, f"must be true or false, not {value!r}")
        return value

    def done(self) -> None:
        for key in self._data:
            near = difflib.get_close_matches(key, self._asked, 1)
            raise self.wrong(
                key,
                f"unknown key; did you mean {near[0]!r}?"
                if near
                else f"unknown key; known are {', '.join(self._asked)}",
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
