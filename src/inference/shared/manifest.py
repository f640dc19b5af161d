"""What models/<name>/model.toml says: parsed and checked, nothing loaded. Reference: docs/models.md.

Read by both sides of the wall, so it is pure: no numpy, no picture, no weights are touched.
What is wrong is told in one `ManifestError` that names the file, and of each fault the key and the reason.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from imageserver import files
from imageserver.errors import ManifestError
from imageserver.inference.shared import checked_table
from imageserver.inference.shared import labels as label_files
from imageserver.inference.shared.checked_table import CheckedTable
from imageserver.inference.shared.elsewhere import cluster, open_inference
from imageserver.inference.shared.elsewhere.cluster import Placement
from imageserver.inference.shared.elsewhere.open_inference import Remote
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.outputs import detection, input_check
from imageserver.inference.shared.outputs.detection import Detection
from imageserver.inference.shared.outputs.input_check import InputCheck

FILE = "model.toml"
CODE = "model.py"

RESERVED = (
    "about", "browser", "camera", "classify", "dashboard", "docs", "engine.io", "favicon.ico", "health", "list_nn",
    "live", "login", "logout", "metrics", "models", "openapi.json", "pages", "reload", "robots.txt", "sessions",
    "snippets", "socket.io", "static", "status", "streams", "tokens", "train", "users", "v1", "v2", "view", "ws",
)  # fmt: skip
"""Names that are routes, or read like one: a model called so would hide the route `/<name>` or be hidden by it."""

PREPROCESSINGS = ("none", "stretch", "letterbox", "letterbox-corner", "crop", "digit", "xray")
"""Names that `input.preprocessing` may have; what they do is in worker/preprocessing/."""

MOST_MEMBERS = 64
MOST_NAME = 200
"""Characters of the name of a network's input or output."""
MOST_SIDE = 8192
"""Pixels of a side of a model's input."""
MOST_CONSTANTS = 64
"""Inputs beside the picture, and numbers for each."""

KINDS = ("classification", "detection", "keypoints", "embedding", "regression", "custom")
RUNTIMES = ("auto", "tensorflow", "openvino", "python", open_inference.RUNTIME)

MAX_BYTES = 2**18
"""Of a manifest, since the server process reads it; long lists of labels have a file of their own."""

MAX_DEPTH = 8
_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DEEP = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY}[ \t]*\.[ \t]*){{{MAX_DEPTH}}}")
"""Dotted keys as in TOML 1.0: tomllib takes time and memory with the square of their parts, 20 s for 64 KiB of them."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TCP_CODE = re.compile(r"[A-Z!]{4}")


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
    name: str = ""  # of the input that takes the picture; "": the one that can
    constants: tuple[tuple[str, tuple[float, ...]], ...] = ()  # what the network's other inputs are given, by name


@dataclass(frozen=True)
class Output:
    """What the model's numbers mean."""

    labels: tuple[str, ...]  # empty where the model names its own
    activation: str  # "none", "softmax", "sigmoid": applied after the model
    threshold: float | None  # 0..1; labels with a lower score are left out
    name: str = ""  # of the output that holds the scores; "": the only one
    detection: Detection | None = None  # None: no boxes, or the model's own code says which


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
    remote: Remote | None = None  # None: it runs on this machine


@dataclass(frozen=True)
class State:
    """How a model that keeps state from frame to frame wants its frames."""

    frame: str  # "rgb": uint8 array (height, width, 3); "pil": a PIL image
    every_frame: bool  # False: under load only the newest
    queue: int  # frames that may wait
    time_limit_s: float  # for one call
    parallel: int  # objects of the model's class at most, each with a thread; sessions are spread over them


@dataclass(frozen=True)
class Permissions:
    """What the model's code may do beyond what every model may: `[jail]`."""

    read: tuple[str, ...] = ()  # files and folders, absolute
    network: bool = False
    processes: bool = False  # start programs
    memory_gib: float | None = None  # in place of --worker-memory


@dataclass(frozen=True)
class Manifest:
    """One model.toml."""

    folder: Path
    name: str
    title: str
    description: str
    kind: str
    tcp_code: str | None  # four characters: its name in the legacy TCP protocol
    listed: bool  # False: lists of models leave it out; whoever knows its name may use it
    input: Input
    output: Output
    batch: Batch
    runtime: Runtime
    state: State | None  # None: stateless
    members: tuple[str, ...]  # names of the models that an ensemble averages; empty: no ensemble
    permissions: Permissions | None  # None: no [jail]; with one, empty or not, it has a worker of its own
    license: str = ""  # of its weights, as SPDX names it; "": not said
    source: str = ""  # where they come from, for people
    input_check: InputCheck | None = None  # None: it answers whatever it is shown
    placement: Placement = field(default_factory=Placement)  # of its replicas, where the server has a cluster

    @property
    def code(self) -> Path:
        """Where the model's own code would be; it need not exist."""
        return self.folder / CODE

    @property
    def stateful(self) -> bool:
        return self.state is not None

    @property
    def movable(self) -> bool:
        """Whether it runs on the cluster, where there is one."""
        return not self.stateful and self.runtime.remote is None and self.placement.where == cluster.CLUSTER


def read(folder: Path) -> Manifest:
    """The manifest in `folder`, whose name is the model's.

    Raises:
        ManifestError: it cannot be read, or with all that is wrong in it.
    """
    file = folder / FILE
    try:
        text = files.read(file, MAX_BYTES).decode()
        if _DEEP.search(text):
            raise ManifestError(
                f"{file}: holds a key of more than {MAX_DEPTH} parts, or dots that read like one; keys have two at most"
            )
        data = tomllib.loads(text)
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, a number of 5,000 digits
        raise ManifestError(f"{file}: not valid TOML: {error}") from error
    check_name(file, folder.name)
    root = CheckedTable("", data)
    state, jail, check = root.table("state"), root.table("jail"), root.table("input_check")
    kind = root.choice("kind", KINDS)
    manifest = Manifest(
        folder=folder,
        name=folder.name,
        title=root.text("title", folder.name, 100),
        description=root.text("description", "", 4000),
        kind=kind,
        tcp_code=_tcp_code(root),
        listed=root.boolean("listed", True),
        input=_input(root.table("input")),
        output=_output(root.table("output"), folder, kind),
        batch=_batch(root.table("batch")),
        runtime=_runtime(root.table("runtime"), folder),
        state=_state(state) if "state" in data else None,
        members=_members(root.table("ensemble"), folder.name),
        permissions=_permissions(jail) if "jail" in data else None,
        license=root.text("license", "", 100),
        source=root.text("source", "", 500),
        input_check=input_check.read(check, folder) if "input_check" in data else None,
        placement=cluster.read(root.table("cluster")),
    )
    if not root.faults():
        _check_together(root, manifest)
        _check_for_features(root, manifest)
    if faults := root.faults():
        raise ManifestError(f"{file}: {'; also '.join(faults)}")
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


def _check_together(root: CheckedTable, manifest: Manifest) -> None:
    """What no key can be wrong about alone; the first of it."""
    runtime, has_code = manifest.runtime, manifest.code.is_file()
    if manifest.placement != Placement() and manifest.placement.where == cluster.CLUSTER and not manifest.movable:
        root.wrong("cluster.where", 'must be "here": a model that keeps state, or runs elsewhere already, stays out')
    if manifest.members:
        alone = manifest.kind == "classification" and runtime.weights is None and not manifest.stateful
        if not alone or not manifest.output.labels or runtime.remote is not None:
            reason = "averages the scores of its members: it needs output.labels, no weights, no state"
            root.wrong("ensemble", reason)
    elif runtime.remote is not None:
        boxes, weights, jail = manifest.output.detection, runtime.weights, manifest.permissions
        given = {"state": manifest.state, "runtime.weights": weights, "jail": jail}
        open_inference.check(root, runtime.remote, manifest.kind, boxes is not None, given)
    elif runtime.runtime == "python":
        if not has_code:
            root.wrong("runtime.runtime", f'"python" needs the file {CODE} beside {FILE}')
        elif manifest.output.detection is not None:
            root.wrong("output.format", f"is for networks; {CODE} says itself which boxes it found")
    elif manifest.stateful:
        root.wrong("state", 'a model that keeps state is code: it needs runtime.runtime = "python"')
    elif manifest.kind == "custom":
        reason = f'"custom" needs runtime.runtime = "python" and a {CODE} that says what was found'
        root.wrong("kind", reason)
    elif manifest.kind in ("detection", "keypoints") and manifest.output.detection is None:
        reason = f'missing: how its boxes are read ({", ".join(detection.FORMATS)}), or runtime.runtime = "python"'
        root.wrong("output.format", reason)
    elif runtime.weights is None:
        reason = f"missing: the file or SavedModel folder that {runtime.runtime!r} is to load"
        root.wrong("runtime.weights", reason)
    elif kinds.of(runtime.weights) is not None:
        if runtime.runtime == "tensorflow":
            reason = f"'tensorflow' cannot run {runtime.weights.name!r}, which OpenVINO reads by itself: leave it out"
            root.wrong("runtime.runtime", reason)
    elif refusal := kinds.refusal(runtime.weights):
        root.wrong("runtime.weights", refusal)
    elif runtime.weights.suffix not in (".keras", "") and not has_code:
        name = runtime.weights.name
        reason = f"{name!r} holds weights only: {CODE} with a function build() is needed beside {FILE}"
        root.wrong("runtime.weights", reason)


def _check_for_features(root: CheckedTable, manifest: Manifest) -> None:
    """Whether there are any for an [input_check]."""
    network = not manifest.members and manifest.runtime.runtime in ("auto", "openvino")
    if manifest.input_check is not None and not (network and manifest.kind == "classification"):
        root.wrong("input_check", "is for a classifier that OpenVINO runs; of an ensemble the members have it")


def _input(table: CheckedTable) -> Input:
    channels = table.integer("channels", 1, 3, 3)
    if channels == 2:
        table.wrong("channels", "must be 1 (grey) or 3 (colour), not 2")
    low, high = table.numbers("range", (0.0, 255.0), 2)
    if low >= high:
        table.wrong("range", f"must be [low, high] with low < high, not {[low, high]}")
    mean, std = table.numbers("mean", (), channels), table.numbers("std", (), channels)
    if any(value <= 0 for value in std):
        table.wrong("std", f"every value must be above 0, not {list(std)}")
    return Input(
        width=table.integer("width", 1, MOST_SIDE),
        height=table.integer("height", 1, MOST_SIDE),
        channels=channels,
        order=table.choice("order", ("rgb", "bgr"), "rgb"),
        range=(low, high),
        mean=mean,
        std=std,
        layout=table.choice("layout", ("nhwc", "nchw"), "nhwc"),
        preprocessing=table.choice("preprocessing", PREPROCESSINGS, "stretch"),
        name=table.text("name", "", MOST_NAME),
        constants=table.named_numbers("constants", MOST_CONSTANTS),
    )


def _output(table: CheckedTable, folder: Path, kind: str) -> Output:
    boxes = detection.read(table, kind)
    output = Output(
        detection=boxes,
        labels=_labels(table, folder),
        activation=table.choice("activation", ("none", "softmax", "sigmoid"), detection.activation(boxes)),
        threshold=table.number("threshold", 0.0, 1.0, None),
        name=table.text("name", "", MOST_NAME),
    )
    if boxes is not None and boxes.format != "detr" and output.activation == "softmax":
        table.wrong("activation", '"softmax" is for format "detr"; others have "sigmoid" or "none"')
    return output


def _labels(table: CheckedTable, folder: Path) -> tuple[str, ...]:
    labels = table.texts("labels")
    if fault := label_files.fault(labels):
        table.wrong("labels", fault)
    name = table.text("labels_file", "", 255)
    classes = table.integer("classes", 0, label_files.MOST, 0)
    path = checked_table.inside(table, "labels_file", folder, name)
    if labels and name:
        table.wrong("labels_file", "give labels or labels_file, not both")
    elif path is not None and path.is_file():
        try:
            labels = label_files.read(path)
        except ManifestError as error:
            table.wrong("labels_file", str(error))
    elif path is not None and not classes:
        table.wrong("labels_file", f"there is no file {name!r} beside {FILE}")
    if classes and not labels:
        return tuple(f"class {index}" for index in range(classes))
    if classes and len(labels) != classes:
        table.wrong("classes", f"is {classes}, but there are {len(labels)} labels")
    return labels


def _batch(table: CheckedTable) -> Batch:
    return Batch(table.integer("max_batch", 1, 256, 8), table.number("max_delay_ms", 0.0, 1000.0, 0.0))


def _runtime(table: CheckedTable, folder: Path) -> Runtime:
    runtime = table.choice("runtime", RUNTIMES, "auto")
    return Runtime(
        runtime=runtime,
        precision=table.choice("precision", ("float32", "bfloat16"), "float32"),
        weights=checked_table.inside(table, "weights", folder, table.text("weights", "", 255)),
        sha256=checked_table.sha256(table),
        weights_hint=table.text("weights_hint", "", 1000),
        remote=open_inference.read(table, folder, runtime),
    )


def _state(table: CheckedTable) -> State:
    return State(
        frame=table.choice("frame", ("rgb", "pil"), "rgb"),
        every_frame=table.boolean("every_frame", False),
        queue=table.integer("queue", 1, 10_000, 64),
        time_limit_s=table.number("time_limit_s", 0.001, 3600.0, 5.0),
        parallel=table.integer("parallel", 1, 64, 8),
    )


def _members(table: CheckedTable, name: str) -> tuple[str, ...]:
    members = table.texts("members")
    if len(members) > MOST_MEMBERS:
        table.wrong("members", f"names {len(members)} models, at most {MOST_MEMBERS} are allowed")
    if name in members or len(set(members)) < len(members):
        table.wrong("members", "must name other models, each once")
    return members


def _permissions(table: CheckedTable) -> Permissions:
    read = table.texts("read")
    if relative := [path for path in read if not os.path.isabs(path) or "\0" in path]:
        table.wrong("read", f"must be absolute paths, not {relative[0][:100]!r}")
    return Permissions(
        read=tuple(map(os.path.normpath, read)),
        network=table.boolean("network", False),
        processes=table.boolean("processes", False),
        memory_gib=table.number("memory_gib", 0.25, 4096.0, None),
    )


def _tcp_code(root: CheckedTable) -> str | None:
    code = root.text("tcp_code", "", 4).upper()
    if code and not _TCP_CODE.fullmatch(code):
        root.wrong("tcp_code", f"must be four letters (or !), not {code!r}")
    return code or None
