"""The texts behind a TFLite file, or none; whatever else is there costs nobody anything."""

from __future__ import annotations

import io
import zipfile

import pytest

from imageserver.inference.shared.formats import tflite


def behind(**texts: str) -> bytes:
    """A file with an archive behind its network; `_` stands for the dot of a name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name.replace("_", "."), text)
    return b"\x1c\0\0\0TFL3" + bytes(100) + stream.getvalue()


@pytest.mark.parametrize(("file", "texts"), [
    (behind(labels_txt="cat\ndog\n"), {"labels": "cat\ndog\n"}),
    (behind(meta_json='{"names": {"0": "cat"}, "task": "detect"}'), {"names": "{'0': 'cat'}", "task": "detect"}),
    (behind(meta_txt="{'names': {0: 'cat'}}", more_txt="dog"), {"names": "{0: 'cat'}", "labels": "dog"}),
    (behind(meta_json="[1]", other_bin="cat"), {}),
    (behind(meta_json="{" * 9999), {}),
    (behind(labels_txt="a" * 2**21), {}),
    (behind(labels_txt="cat")[:-9], {}),
    (b"\x1c\0\0\0TFL3" + bytes(100), {}),
    (b"", {}),
])  # fmt: skip
def test_texts(file: bytes, texts: dict[str, str]) -> None:
    assert tflite.read(io.BytesIO(file)) == texts


def test_a_text_that_is_longer_than_its_archive_says() -> None:
    """What an archive says of sizes is not believed: no more is unpacked than is read."""
    data = bytearray(behind(labels_txt="x" * 2**22))
    for at in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[at : at + 4] = (5).to_bytes(4, "little")
    assert len(tflite.read(io.BytesIO(bytes(data))).get("labels", "")) <= 5
