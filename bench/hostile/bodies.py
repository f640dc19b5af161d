"""Bodies of requests that cost more than their length: JSON, forms, tensors."""

from __future__ import annotations

from bench.hostile.target import Target, at_once, attack
from bench.hostile.wire import basic, request

SIZE = 15 * 2**20
JSON = {"Content_Type": "application/json"}
FORM = {"Content_Type": "multipart/form-data; boundary=x"}
LONG_BOUNDARY = {"Content_Type": "multipart/form-data; boundary=" + "x" * 8000}
QUERY = {"Content_Type": "application/x-www-form-urlencoded"}
INFER = "/v2/models/faces/infer"


def filled(before: bytes, piece: bytes, after: bytes = b"") -> bytes:
    """15 MiB: `piece` again and again, between what stands before it and after it."""
    return before + piece * (SIZE // len(piece)) + after


BODIES = [
    (JSON, filled(b"", b"[")),
    (JSON, filled(b"", b'{"a":')),
    (JSON, filled(b"", b" ")),
    (JSON, filled(b'{"image":', b"9", b"}")),
    (JSON, filled(b'{"image":[', b"[],", b"0]}")),
    (JSON, filled(b'{"image":"', b"A", b'"}')),
    (JSON, filled(b'{"image":"', b"\\n", b'"}')),
    (JSON, filled(b'{"image":"', b"\\u0041", b'"}')),
    (JSON, filled(b'{"image":"data:', b",", b'"}')),
    (JSON, filled(b'{"image":"', "é".encode(), b'"}')),
    (JSON, filled(b'{"image":"A', "😀".encode(), b'"}')),
    (FORM, filled(b"", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n')),
    (FORM, filled(b"--x\r\n", b"a: b\r\n")),
    (FORM, filled(b"", b"-")),
    (FORM, filled(b"", b"\r\n--")),
    (LONG_BOUNDARY, filled(b"", b"x")),
    (QUERY, filled(b"", b"a&")),
    (QUERY, filled(b"", b"%41")),
]
"""What is sent as a picture: headers and body."""

TENSORS = [
    filled(b'{"inputs":[', b'{"name":"a","shape":[1],"datatype":"BYTES","data":["x"]},', b"0]}"),
    filled(b'{"inputs":[{"name":"a","shape":[1000000000,9],"datatype":"FP32","data":[', b"1.5,", b"1]}]}"),
    filled(b'{"inputs":[{"name":"a","shape":[', b"1,", b'1],"datatype":"FP32","data":[1]}]}'),
]


@attack("json", "bodies of 15 MiB of JSON, forms and tensors: nested, lists, escapes, parts, numbers")
def json(target: Target) -> None:
    login = basic() if target.guarded else {}
    for headers, body in BODIES:
        request(target, "POST", "/faces/classify", body, **headers, **login)
    for body in TENSORS:
        request(target, "POST", INFER, body, **JSON, **login)
    request(target, "POST", INFER, filled(b"{", b"1"), Inference_Header_Content_Length="999999999999", **JSON, **login)
    request(target, "PUT", "/snippets/1/", filled(b"", b"x"), Content_Type="image/png", **login)
    request(target, "POST", "/socket.io/?EIO=4&transport=polling&sid=nobody", filled(b"", b"4\x1e"))


@attack("forms", "the same bodies as pictures by PUT to /snippets/, which the server takes apart itself")
def forms(target: Target) -> None:
    login = basic() if target.guarded else {}
    for headers, body in (*BODIES, (JSON, filled(b"[", b"[],", b"1]")), (JSON, filled(b"[", b'"ab",', b"1]"))):
        request(target, "PUT", "/snippets/1/", body, **headers, **login)


@attack("values", "headers of 30 KB that are taken apart, and queries of thousands of fields")
def values(target: Target) -> None:
    for kind in ("a,", "a;q=0.5,", "a/b;x=y,"):
        request(target, "GET", "/", Accept=("text/html," + kind * 15_000)[:30_000])
    for parameter in ('a="\\', ";a*=b'", "a;a*0=b;"):
        kind = ("multipart/form-data;" + parameter * 6000)[:30_000]
        request(target, "PUT", "/snippets/1/", b"x" * 100, Content_Type=kind, **basic())
    for field in ("a=%ff&", "a&", "%25"):
        request(target, "GET", "/snippets/?" + (field * 4000)[:8000], **basic())
        request(target, "GET", "/socket.io/?EIO=4&transport=polling&" + (field * 4000)[:8000])


@attack("json-at-once", "16 clients, each with a body of 15 MiB of JSON for /v2")
def json_at_once(target: Target) -> None:
    login = basic() if target.guarded else {}
    at_once(16, lambda index: request(target, "POST", INFER, TENSORS[index % 3], **JSON, **login) and None)
