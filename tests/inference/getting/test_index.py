"""The shipped index, and what is said of one that is wrong."""

from __future__ import annotations

import tomllib
import urllib.parse
from pathlib import Path

import pytest
from tests.inference.getting.mirrors import Mirror, serving
from tests.running import ROOT

from imageserver.errors import ManifestError
from imageserver.inference.getting import index, listing
from imageserver.inference.getting.origins import origin
from imageserver.inference.shared import labels
from imageserver.inference.shared.formats import kinds

SHIPPED = index.read()
HOSTS = ("github.com", "media.githubusercontent.com", "huggingface.co", "storage.googleapis.com", "keras.io")
ROW = """
[net]
title = "Net"
task = "detection"
license = "MIT"
page = "https://localhost/"
file = "net.onnx"
address = "https://localhost/net.onnx"
bytes = 7
sha256 = "{sha256}"
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_row(name: str) -> None:
    model = SHIPPED[name]
    assert model.license in index.LICENSES
    assert "GPL" not in model.license
    assert model.shipped or kinds.of(Path(model.files[0].name)) is not None
    assert model.figures
    for address in (model.page, *(file.address for file in model.files)):
        parts = urllib.parse.urlsplit(address)
        assert (parts.scheme, parts.username, parts.port, parts.query, parts.fragment) == ("https", None, None, "", "")
        assert parts.hostname in HOSTS
    assert not [file for file in model.files if "/main/" in file.address]
    assert model.shipped or len(labels.read(model.reading["labels"])) == 80


def test_what_a_shipped_model_lacks_is_what_its_manifest_names() -> None:
    for model in SHIPPED.values():
        if model.shipped:
            text = (ROOT / "models" / model.name / "model.toml").read_text()
            written = tomllib.loads(text)
            assert [file.name for file in model.files] == [
                written["runtime"]["weights"],
                written["output"]["labels_file"],
            ]
            assert model.files[0].address in written["runtime"]["weights_hint"]
            assert written["license"] == model.license
            assert written["source"] == model.page


def test_shipped_rows_are_of_different_files() -> None:
    assert {"yolox-nano", "yolox-s", "nanodet-plus-m", "dfine-s"} <= SHIPPED.keys()
    files = [file for model in SHIPPED.values() for file in model.files]
    for column in ("name", "address", "sha256", "size"):
        assert len({getattr(file, column) for file in files}) == len(files)
    assert len({model.title for model in SHIPPED.values()}) == len(SHIPPED)
    assert list(index.LICENSES) == sorted(index.LICENSES)


@pytest.mark.parametrize(("change", "sentence"), [
    ('license = "AGPL-3.0-only"', "[net] license: must be one of Apache-2.0, "),
    ('address = "http://localhost/net.onnx"', "[net] address: must be an address that begins with https://"),
    ('address = "https://me@localhost/net.onnx"', "[net] address: must be an address"),
    ('file = "../net.onnx"', "[net] file: must be a name of letters"),
    ('sha256 = "12"', "[net] sha256: must be 64 hexadecimal digits in lower case, not '12'"),
    ("labels = { file = 'l.txt' }", "[net] labels: are a file of a shipped model; others say reading.labels"),
    ("bytes = 0", "[net] bytes: must be a whole number from 1 to "),
    ('reading = { labels = "nowhere.txt" }', "[net] reading.labels: there is no file 'nowhere.txt' beside the index"),
    ('reading = { rnage = [0, 1] }', "[net] reading.rnage: unknown key; did you mean 'range'?"),
    ("output = { format = 1 }", "[net] output.format: unknown key"),
    ('task = "speech"', "[net] task: must be one of"),
])  # fmt: skip
def test_a_wrong_row(tmp_path: Path, change: str, sentence: str) -> None:
    key = change.partition(" = ")[0]
    lines = [line for line in ROW.format(sha256="0" * 64).splitlines() if not line.startswith(f"{key} =")]
    file = tmp_path / "index.toml"
    file.write_text("\n".join([*lines, change]))
    with pytest.raises(ManifestError) as said:
        index.read(file)
    assert sentence in str(said.value)


@pytest.mark.parametrize("text", ["[net", '[Net]\ntitle = "N"', "[health]", "net = 1"])
def test_a_wrong_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.toml").write_text(text)
    with pytest.raises(ManifestError):
        index.read(tmp_path / "index.toml")


def test_the_table_fits_a_terminal(tmp_path: Path) -> None:
    lines = list(listing.lines(SHIPPED.values(), None))
    assert len(lines) == 1 + 3 * len(SHIPPED) + 1  # mobilenet has two files
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["yolox-nano", "detection", "3.7", "MB", "Apache-2.0", "github.com"]
    assert "25.8" in lines[2]
    assert lines[3] == "  yolox_nano.onnx"


def test_the_table_of_a_folder_and_of_a_mirror(tmp_path: Path) -> None:
    first, second, *_ = SHIPPED.values()
    with (tmp_path / first.files[0].name).open("wb") as stream:
        stream.truncate(first.size)
    (tmp_path / second.files[0].name).write_bytes(b"something else")
    found = [
        line.split(second.license)[1].strip()
        for line in listing.lines(SHIPPED.values(), origin(str(tmp_path)))
        if second.license in line
    ]
    assert found[:3] == ["there", "another file, 0.0 MB", "not there"]
    with serving(Mirror(b"", headers={"Content-Length": str(first.size)}, status=200)) as mirror:
        lines = list(listing.lines([first, second], origin(mirror.address)))
        assert [line.rpartition("  ")[2] for line in lines[1::3]] == [
            "there",
            f"another file, {first.size / 1e6:.1f} MB",
        ]
        mirror.status = 404
        assert next(iter(list(listing.lines([first], origin(mirror.address)))[1:])).endswith("not there")
        assert {method for method, _path, _sent in mirror.seen} == {"HEAD"}
