"""The keys of `[runtime]` for a model that another server runs, which speaks the Open Inference Protocol (v2).

Endpoints come from the manifest alone: no client can name one. What logs in to them lies in files of their own, and
never in the manifest. Pure: no file is touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imageserver.inference.shared.checked_table import CheckedTable
from imageserver.inference.shared.outputs import detection

RUNTIME = "open_inference"
TENSOR, PICTURE = "tensor", "picture"

KEYS = ("endpoint", "model", "version", "send", "user", "password_file", "token_file", "ca_file")
"""Of `[runtime]`, for such a model alone."""

WITHOUT = {
    "state": "a model that keeps state runs on this machine: its frames have to come in order",
    "runtime.weights": "are where the model runs: leave them out",
    "jail": "is for the model's own code, and this one has none here",
}
"""What such a manifest has not, and why."""

MOST_ENDPOINTS = 16
LONGEST = 500
"""Characters of an endpoint."""
PORTS = {"http": 80, "https": 443, "grpc": 0, "grpcs": 0}
"""The port of a scheme where none is given; 0: one has to be."""
FORM = '"http://gpu1:8000", "https://…", "grpc://gpu1:8001" or "grpcs://…"'

_ENDPOINT = re.compile(
    r"(?P<scheme>https?|grpcs?)://"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~-]+)*)/?"
)
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_USER = re.compile(r"[^\x00-\x1f\x7f:]{1,100}")


@dataclass(frozen=True)
class Address:
    """Where an endpoint is: `path` is what stands before `/v2`, "" for nothing, and of HTTP only."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def encrypted(self) -> bool:
        return self.scheme in ("https", "grpcs")

    @property
    def grpc(self) -> bool:
        return self.scheme in ("grpc", "grpcs")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


@dataclass(frozen=True)
class Remote:
    """A model elsewhere."""

    addresses: tuple[Address, ...]
    model: str  # what it is called there
    version: str  # "": the one that serves there
    send: str  # TENSOR: what the network takes; PICTURE: the encoded picture, which is decoded there
    user: str
    password_file: Path | None
    token_file: Path | None
    ca_file: Path | None  # certificates that are trusted in place of the system's

    @property
    def files(self) -> tuple[Path, ...]:
        """What has to be read beside the manifest."""
        return tuple(path for path in (self.password_file, self.token_file, self.ca_file) if path is not None)


def read(table: CheckedTable, folder: Path, runtime: str) -> Remote | None:
    """Take the keys out of the table `[runtime]`; None where the model does not run elsewhere."""
    if runtime != RUNTIME:
        for key in filter(table.has, KEYS):
            table.wrong(key, f'is for runtime = "{RUNTIME}", of models that another server runs')
    given = table.has("endpoint")
    texts = table.texts("endpoint")
    remote = Remote(
        addresses=tuple(filter(None, (_address(table, text) for text in texts[: MOST_ENDPOINTS + 1]))),
        model=_matching(table, "model", _NAME, folder.name, 200),
        version=_matching(table, "version", _NAME, "", 200),
        send=table.choice("send", (TENSOR, PICTURE), TENSOR),
        user=_matching(table, "user", _USER, "", 100),
        password_file=_file(table, "password_file", folder),
        token_file=_file(table, "token_file", folder),
        ca_file=_file(table, "ca_file", folder),
    )
    if runtime != RUNTIME:
        return None
    _check(table, remote, texts, given)
    return remote


def check(root: CheckedTable, remote: Remote, kind: str, boxes: bool, given: Mapping[str, object]) -> None:
    """What no key can be wrong about alone; the first of it.

    Args:
        root: the manifest's table, for the fault.
        remote: what was read.
        kind: of the model.
        boxes: whether the manifest says how boxes are read.
        given: what the manifest says by the keys of `WITHOUT`; None where it does not.
    """
    for key, reason in WITHOUT.items():
        if given[key] is not None:
            root.wrong(key, reason)
            return
    if remote.send == PICTURE and boxes:
        root.wrong("output.format", 'with runtime.send = "picture" boxes are read there: leave it out')
    elif remote.send == TENSOR and kind == "custom":
        root.wrong("kind", '"custom" needs runtime.send = "picture": what it answers is passed on as it is')
    elif remote.send == TENSOR and kind in ("detection", "keypoints") and not boxes:
        formats = ", ".join(detection.FORMATS)
        root.wrong("output.format", f'missing: how its boxes are read ({formats}), or runtime.send = "picture"')


def _check(table: CheckedTable, remote: Remote, texts: tuple[str, ...], given: bool) -> None:
    if not texts and not given:
        table.wrong("endpoint", f"missing: a list of where the model runs, such as [{FORM.partition(',')[0]}]")
    if len(texts) > MOST_ENDPOINTS or len(set(remote.addresses)) < len(remote.addresses):
        table.wrong("endpoint", f"must name at most {MOST_ENDPOINTS} endpoints, each once")
    if bool(remote.user) != (remote.password_file is not None):
        table.wrong("user", "belongs together with password_file")
    elif remote.user and remote.token_file is not None:
        table.wrong("token_file", "logs in already, and so does user: give one of both")
    if remote.ca_file is not None and not any(address.encrypted for address in remote.addresses):
        table.wrong("ca_file", "is for endpoints with https:// or grpcs://")


def _address(table: CheckedTable, text: str) -> Address | None:
    """An endpoint's address; None, and a fault, where it is none."""
    found = _ENDPOINT.fullmatch(text) if len(text) <= LONGEST else None
    shown = repr(text[:100])
    if "@" in text:
        table.wrong("endpoint", "holds no name or password: give user and password_file, or token_file")
        return None
    if found is None:
        table.wrong("endpoint", f"must be {FORM}, not {shown}")
        return None
    scheme, path = found["scheme"], found["path"]
    port = int(found["port"] or PORTS[scheme])
    if not 0 < port < 65536:
        table.wrong("endpoint", f"needs a port from 1 to 65535 behind the host, which {shown} has not")
    elif path and scheme.startswith("grpc"):
        table.wrong("endpoint", f"has no path with gRPC: leave {path!r} out")
    elif "/v2" in path or "/." in path:
        table.wrong("endpoint", f"is the address below which /v2 is, without that: not {shown}")
    else:
        return Address(scheme, found["host"].strip("[]").lower(), port, path)
    return None


def _matching(table: CheckedTable, key: str, form: re.Pattern[str], default: str, longest: int) -> str:
    text = table.text(key, default, longest)
    if text and not form.fullmatch(text):
        table.wrong(key, f"must be a text without control characters, not {text[:100]!r}")
    return text


def _file(table: CheckedTable, key: str, folder: Path) -> Path | None:
    """An absolute path, or one within the model's folder; None where it is left out."""
    text = table.text(key, "", 1000)
    if not text:
        return None
    if "\0" in text or (not os.path.isabs(text) and ".." in Path(text).parts):
        table.wrong(key, f"must be an absolute path, or a file in the model's own folder, not {text[:100]!r}")
        return None
    return Path(os.path.normpath(folder / text))
