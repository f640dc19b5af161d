"""Bodies of requests to the picture files in them, as tables of bytes."""

import base64

import pytest

from imageserver.errors import BodyError, PictureError
from imageserver.inference.shared import request_bodies, wire

PICTURE = bytes(range(256)) * 3
TEXT = base64.b64encode(PICTURE).decode()
URL_SAFE = base64.urlsafe_b64encode(PICTURE).decode()
LINES = base64.encodebytes(PICTURE).decode()


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


FILE = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + PICTURE
FIELD = b'Content-Disposition: form-data; name="note"\r\n\r\nhello'


@pytest.mark.parametrize(
    ("form_", "body"),
    [
        (wire.CONTENT_IMAGE, PICTURE),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % TEXT.encode()),
        (wire.CONTENT_JSON, b' {"image":"%s", "more": [1]}\n' % TEXT.encode()),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % LINES.replace("\n", "\\n").encode()),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % LINES.replace("\n", "\\r\\n").encode()),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % TEXT.rstrip("=").encode()),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % TEXT.replace("/", "\\/").encode()),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % URL_SAFE.encode()),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % URL_SAFE.rstrip("=").encode()),
        (wire.CONTENT_JSON, b'{"image": "%s"}' % URL_SAFE.replace("B", "B\\n").encode()),
        (wire.CONTENT_JSON, b'{"image": "data:image/png;base64,%s"}' % TEXT.encode()),
        (wire.CONTENT_JSON, b'{"image": "data:;base64,%s"}' % LINES.replace("\n", "\\n").encode()),
        ("multipart;x", form(FILE)),
        ("multipart;x", form(FIELD, FILE)),
        ("multipart;x", form(FILE, FIELD)),
        ("multipart;x", form(FILE.replace(b'; name="image"', b""))),
    ],
)
@pytest.mark.parametrize("type_", [bytes, bytearray, memoryview])
def test_a_picture_comes_out_as_it_went_in(form_, body, type_):
    assert bytes(request_bodies.picture(form_, type_(body))) == PICTURE


@pytest.mark.parametrize(
    ("form_", "body", "error", "sentence"),
    [
        (wire.CONTENT_JSON, b"", BodyError, "no valid JSON"),
        (wire.CONTENT_JSON, b"{", BodyError, "line 1, column 2"),
        (wire.CONTENT_JSON, b'{"image": "\xff"}', BodyError, "UTF-8"),
        (wire.CONTENT_JSON, b"[" * 50_000, BodyError, "nested"),
        (wire.CONTENT_JSON, b"[1]", PictureError, "holds no picture"),
        (wire.CONTENT_JSON, b'{"picture": "abcd"}', PictureError, "holds no picture"),
        (wire.CONTENT_JSON, b'{"image": 5}', PictureError, "holds no picture"),
        (wire.CONTENT_JSON, b'{"image": "ab!d"}', PictureError, "base64"),
        (wire.CONTENT_JSON, b'{"image": "abcde"}', PictureError, "base64"),
        (wire.CONTENT_JSON, b'{"image": "data:image/png,abcd"}', PictureError, "data: URL holds no base64"),
        (wire.CONTENT_JSON, b'{"image": %s}' % (b"9" * 5000), BodyError, "too many digits"),
        (wire.CONTENT_JSON, '{"image": "äöü"}'.encode(), PictureError, "base64"),
        ("multipart;x", b"", BodyError, "multipart"),
        ("multipart;x", form(FILE, end=b""), BodyError, "multipart"),
        ("multipart;y", form(FILE), BodyError, "multipart"),
        ("multipart;x", form(b"Content-Type: text/plain\r\n\r\nhello"), BodyError, "multipart"),
        ("multipart;x", form(FIELD), PictureError, "no file"),
        ("multipart;x", form(*[FIELD] * 40), BodyError, "more than 16 parts"),
        ("tarball", b"x", BodyError, "tarball"),
    ],
)
def test_what_is_wrong_is_said(form_, body, error, sentence):
    with pytest.raises(error, match=sentence):
        request_bodies.picture(form_, memoryview(body))


JPEG = b"\xff\xd8\xff\xe0 and so on"


@pytest.mark.parametrize("content_type", ["", "image/png", request_bodies.JSON, "application/octet-stream"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (JPEG, wire.CONTENT_IMAGE),
        (b"RIFF\0\0\0\0WEBP", wire.CONTENT_IMAGE),
        (b'{"image": ""}', wire.CONTENT_JSON),
        (b'\xef\xbb\xbf\r\n {"image": ""}', wire.CONTENT_JSON),
        (b"[1]", wire.CONTENT_JSON),
    ],
)
def test_content_tells_what_a_body_is(content_type, body, kind):
    for type_ in (bytes, bytearray, memoryview):
        assert request_bodies.content_of(content_type, "", type_(body)) == kind


def test_the_content_type_counts_where_the_content_is_nothing_known():
    assert request_bodies.content_of(request_bodies.JSON, "", b"nonsense") == wire.CONTENT_JSON
    assert request_bodies.content_of("", "", b"nonsense") == wire.CONTENT_IMAGE
    assert request_bodies.content_of(request_bodies.MULTIPART, "x", form(FILE)) == "multipart;x"
    for boundary in ("", "x" * 71, "ä"):
        with pytest.raises(BodyError, match="boundary"):
            request_bodies.content_of(request_bodies.MULTIPART, boundary, b"--")


LARGE = bytes(range(256)) * 40
ENCODED = base64.b64encode(LARGE)
ESCAPES = {
    "plain": ENCODED,
    "URL-safe": base64.urlsafe_b64encode(LARGE).rstrip(b"="),
    "lines": b"\\r\\n".join(ENCODED[at : at + 76] for at in range(0, len(ENCODED), 76)),
    "slashes": ENCODED.replace(b"/", b"\\/").replace(b"A", b"\\u0041"),
    "all escaped": b"".join(b"\\u%04x" % code for code in ENCODED),
    "data URL": b"data:image\\/png;base64," + ENCODED.replace(b"A", b" A"),
}


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("piece", [8, 9, 10, 11, 12, 13, 100, 2**17])
def test_a_large_picture_comes_out_however_it_is_cut(monkeypatch, name, piece):
    monkeypatch.setattr(request_bodies, "PIECE", piece)
    pauses = []
    body = b'{"note": "say \\"hi\\" \\\\", "image": "%s", "more": {"long": "%s"}}' % (ESCAPES[name], b'x\\"' * 2000)
    found = request_bodies.picture(wire.CONTENT_JSON, bytearray(body), lambda: pauses.append(1))
    assert bytes(found) == LARGE
    assert len(pauses) >= len(ENCODED) / piece


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 2**17])
def test_a_form_is_read_however_it_is_cut(monkeypatch, newline, piece):
    monkeypatch.setattr(request_bodies, "PIECE", piece)
    file = b'content-disposition: form-data; filename="a"' + newline * 2 + b"\r\n--xx\n--y\r\n-" + PICTURE
    body = b"preamble --x" + newline + b"--x  " + newline + FIELD.replace(b"\r\n", newline)
    body += newline + b"--x" + newline + file + newline + b"--x--"
    found = request_bodies.picture("multipart;x", bytearray(body), lambda: None)
    assert bytes(found) == b"\r\n--xx\n--y\r\n-" + PICTURE


MIB = 2**20


@pytest.mark.parametrize(
    ("form_", "body", "error", "sentence"),
    [
        (wire.CONTENT_JSON, b"[[]" + b",[]" * (MIB // 3) + b"]", BodyError, "beside the picture"),
        (wire.CONTENT_JSON, b'["a"' + b',"a"' * 9000 + b"]", BodyError, "beside the picture"),
        (wire.CONTENT_JSON, b'{"note": "' + b'\\"' * MIB + b'"}', BodyError, "beside the picture"),
        (wire.CONTENT_JSON, b'{"image": "' + b"A" * MIB, BodyError, "no end"),
        (wire.CONTENT_JSON, b'{"image": "' + b"\\u00e9" * MIB + b'"}', PictureError, "base64"),
        (wire.CONTENT_JSON, b'{"image": "' + b"A" * MIB + b"=A" + b'"}', PictureError, "base64"),
        (wire.CONTENT_JSON, b'{"image": "' + b"A" * MIB + b"==" + b" " * MIB + b'AAAA"}', PictureError, "base64"),
        (wire.CONTENT_JSON, b'{"image": "' + b"A" * MIB + b'\\"}', BodyError, "no end"),
        ("multipart;x", b"--x\r\n" + b"a: b\r\n" * MIB, BodyError, "8192 bytes of headers"),
        ("multipart;x", b"\n--x-" * MIB, BodyError, "no complete multipart form"),
        ("multipart;x", b"--xy\r\n" + FILE + b"\r\n--xy--", BodyError, "no complete multipart form"),
    ],
)
def test_large_bodies_are_measured_before_they_are_read(form_, body, error, sentence):
    with pytest.raises(error, match=sentence):
        request_bodies.picture(form_, body)


@pytest.mark.parametrize(
    "body", [b"[" + b"[]," * 1_500_000 + b"1]", b"[" + b"{}," * 10_001 + b"1]", b"[" + b'"",' * 100_001 + b"1]"]
)
def test_json_as_a_whole_has_a_measure(body):
    with pytest.raises(BodyError, match="too many"):
        request_bodies.parse_json(body)
