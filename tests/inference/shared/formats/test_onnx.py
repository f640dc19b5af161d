"""What an ONNX file names is found wherever it stands in it, and leads nowhere but into the file's own folder."""

import io
import os
import re

import pytest

from imageserver.inference.shared import weights
from imageserver.inference.shared.formats import onnx as reader


def number(value):
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def message(field, content):
    """A field of bytes."""
    return number(field << 3 | 2) + number(len(content)) + content


def external(location, key=b"location"):
    """A tensor that lies in another file."""
    return message(13, message(1, key) + message(2, location.encode()))


def in_graph(location):
    return message(7, message(5, external(location)))


TENSOR_OF_ATTRIBUTE, TENSORS_OF_ATTRIBUTE, BRANCH, BRANCHES = 5, 10, 6, 11


def in_attribute(field, location):
    tensor = external(location)
    content = message(5, tensor) if field in (BRANCH, BRANCHES) else tensor
    return message(7, message(1, message(5, message(field, content))))


WAYS = {
    "an initializer": in_graph,
    "a sparse one": lambda location: message(7, message(15, message(1, external(location)))),
    "its indices": lambda location: message(7, message(15, message(2, external(location)))),
    "an attribute": lambda location: in_attribute(TENSOR_OF_ATTRIBUTE, location),
    "a list in an attribute": lambda location: in_attribute(TENSORS_OF_ATTRIBUTE, location),
    "a branch": lambda location: in_attribute(BRANCH, location),
    "one of several branches": lambda location: in_attribute(BRANCHES, location),
    "a function": lambda location: message(25, message(7, message(5, message(5, external(location))))),
    "a training": lambda location: message(20, message(1, message(5, external(location)))),
    "a second graph": lambda location: in_graph("first") + in_graph(location),
}


def read(content):
    return reader.read(io.BytesIO(content), len(content))


@pytest.mark.parametrize("way", WAYS)
def test_external_data_is_found_everywhere(way):
    assert "w/eights.bin" in read(WAYS[way]("w/eights.bin")).locations


def test_what_it_says_of_itself():
    texts = message(14, message(1, b"names") + message(2, b"{0: 'cat'}")) + message(14, message(1, b"task"))
    assert read(texts + in_graph("x")).texts == {"names": "{0: 'cat'}", "task": ""}


def test_the_last_of_two_values_counts_as_in_protobuf():
    twice = message(13, message(1, b"offset") + message(2, b"a") + message(1, b"location") + message(2, b"../b"))
    assert read(message(7, message(5, twice))).locations == {"../b"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no ONNX file, or holds no network"),
        (b"\x08\x07", "holds no network"),
        (message(7, b"abc"), "is cut short"),
        (message(7, message(5, external("x")))[:-3], "is cut short: it ends within a field"),
        (b"\x3a\xff\xff\xff\xff", "is cut short: it ends within a number"),
        (b"\x3a" + b"\xff" * 10, "of more than 64 bits"),
        (b"\x3b\x3c", "of the kind 3"),
        (b"\x00\x01", "without a number"),
    ],
)
def test_damage_gets_its_sentence(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(content)


def test_a_file_of_endless_parts_is_refused(monkeypatch):
    monkeypatch.setattr(reader, "MOST_FIELDS", 1000)
    with pytest.raises(ValueError, match="more than 1000 parts"):
        read(message(7, b"\x08\x01" * 1001))
    monkeypatch.setattr(reader, "MOST_FILES", 10)
    with pytest.raises(ValueError, match="names more than 10 files"):
        read(b"".join(in_graph(str(index)) for index in range(20)))


OUTSIDE = ("../w", "a/../../w", "/etc/passwd", "", "..", "C:\\w", "a\\..\\w", "w\0", "w\n", "file:w")


@pytest.mark.parametrize("location", OUTSIDE)
def test_paths_that_lead_out(tmp_path, location):
    (tmp_path / "in").mkdir()
    (tmp_path / "w").write_bytes(b"secret")
    file = tmp_path / "in" / "a.onnx"
    file.write_bytes(in_graph(location))
    with pytest.raises(ValueError, match="outside of its own folder"):
        weights.files_of(file)


@pytest.mark.parametrize("location", [".hidden", "model.py", "a/.b/c", "model.toml", "x" * 1025])
def test_names_that_no_weights_have(location):
    with pytest.raises(ValueError, match="which is no name of a file of weights"):
        reader.check_location(location)


def test_links_that_lead_out_and_files_that_are_not_there(tmp_path):
    folder = tmp_path / "in"
    (folder / "parts").mkdir(parents=True)
    (tmp_path / "w").write_bytes(b"secret")
    file = folder / "a.onnx"
    file.write_bytes(in_graph("parts/w"))
    with pytest.raises(ValueError, match=re.escape("keeps weights in 'parts/w', which is not there")):
        weights.files_of(file)
    os.symlink("../../w", folder / "parts/w")
    with pytest.raises(ValueError, match="a link out of its folder"):
        weights.files_of(file)
    (folder / "parts/w").unlink()
    (folder / "real").write_bytes(b"weights")
    os.symlink("../real", folder / "parts/w")
    assert weights.files_of(file) == [file, folder / "parts/w"]


def test_the_digest_is_of_all_files_that_belong_to_it(tmp_path):
    file, more = tmp_path / "a.onnx", tmp_path / "w"
    file.write_bytes(in_graph("w"))
    digests = set()
    for content in (b"1", b"2"):
        more.write_bytes(content)
        digests.add(weights.digest(file))
    file.write_bytes(message(7, b""))
    assert weights.digest(file) == weights.sha256(file)
    network = tmp_path / "b.xml"
    network.write_text("<net/>")
    digests |= {weights.digest(network), weights.sha256(network)}
    (tmp_path / "b.bin").write_bytes(b"3")
    digests.add(weights.digest(network))
    assert len(digests) == 4
