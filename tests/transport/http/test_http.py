"""The HTTP listener: what applications get, and each limit exceeded."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

from imageserver.transport.http.server import HttpServer

Serve = Callable[..., Any]

SMALL = {
    "max_request_line": 1000, "max_header_bytes": 4000, "max_header_value": 1000, "header_time": 1.0, "max_body_bytes": 100_000, "body_grace": 2.0,
    "drain_bytes": 50_000_000, "drain_time": 3,
}  # fmt: skip


def talk(port: int, *pieces: bytes, wait: float = 0.0) -> bytes:
    """Send pieces with pauses between them; everything that the server answers until it closes."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        for piece in pieces:
            sock.sendall(piece)
            time.sleep(wait)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


def head(path: str = "/echo", method: str = "GET", **headers: str) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def body_of(answer: bytes) -> Any:
    return json.loads(answer.rpartition(b"\r\n\r\n")[2])


LAST = {"Connection": "close"}


def test_environ(serve: Serve) -> None:
    answer = talk(serve().port, head("/%C3%BC/a?b=c%20d", X_Own="1", Cookie="a=b", **LAST))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    environ = body_of(answer)["environ"]
    assert environ["PATH_INFO"] == "/ü/a".encode().decode("latin-1")
    wanted = {"REQUEST_METHOD": "GET", "QUERY_STRING": "b=c%20d", "SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_X_OWN": "1",
              "HTTP_COOKIE": "a=b", "REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http"}  # fmt: skip
    assert {name: environ[name] for name in wanted} == wanted


@pytest.mark.parametrize("headers", [b"X_Forwarded_For: 1.2.3.4\r\n", b"X-Forwarded-For: 1.2.3.4\r\n"])
def test_forwarded_address_of_a_stranger_counts_nothing(serve: Serve, headers: bytes) -> None:
    answer = talk(serve().port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n")
    assert body_of(answer)["environ"]["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize(("forwarded", "address"), [
    ("1.2.3.4", "1.2.3.4"), ("6.6.6.6, 1.2.3.4", "1.2.3.4"), ("6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4"), ("unknown", "127.0.0.1"),
    ("1.2.3.4, rubbish", "127.0.0.1"), ("", "127.0.0.1"), ("::1", "::1"),
])  # fmt: skip
def test_forwarded_address(serve: Serve, forwarded: str, address: str) -> None:
    served = serve(proxies=["127.0.0.1", "10.0.0.0/8"])
    answer = talk(served.port, head(X_Forwarded_For=forwarded, X_Forwarded_Proto="https", **LAST))
    environ = body_of(answer)["environ"]
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (address, "https")


def test_small_answers_are_sent_at_once(serve: Serve) -> None:
    assert body_of(talk(serve().port, head("/no-delay", **LAST))) == 1


def test_chunked_body(serve: Serve) -> None:
    request = head("/echo", "POST", Transfer_Encoding="chunked", **LAST)
    answer = talk(serve().port, request + b"3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n")
    assert (body_of(answer)["length"], body_of(answer)["begin"]) == (8, "abcdefgh")


def test_expect_continue(serve: Serve) -> None:
    with socket.create_connection(("127.0.0.1", serve().port), 10) as sock:
        sock.sendall(head("/echo", "POST", Content_Length="3", Expect="100-continue", **LAST))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert b'"length": 3' in sock.recv(65536)


def test_keep_alive_pipelining_and_head(serve: Serve) -> None:
    answer = talk(
        serve().port, head() + head("/echo", "POST", Content_Length="2") + b"hi" + head("/echo", "HEAD", **LAST)
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.endswith(b"\r\n\r\n")


def test_old_client(serve: Serve) -> None:
    assert talk(serve().port, b"GET /stream HTTP/1.0\r\n\r\n").endswith(
        b"\r\n\r\n" + b"".join(b"%d" % i * 10 for i in range(5))
    )


OLD = b"GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"


def test_old_clients_connections_are_kept_when_they_ask(serve: Serve) -> None:
    posted = b"POST /echo HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi"
    answer = talk(serve().port, OLD % b"/echo" + posted + b"GET /echo HTTP/1.0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    kept, posted_answer, last = answer.lower().split(b"http/1.1 200 ok")[1:]
    for text in (kept, posted_answer):
        assert b"connection: keep-alive\r\n" in text and b"content-length: " in text
    assert b'"length": 2' in posted_answer and b'"server_protocol": "http/1.0"' in posted_answer
    assert b"connection: close\r\n" in last


def test_an_old_clients_connection_ends_with_an_answer_of_unknown_length(serve: Serve) -> None:
    answer = talk(serve().port, OLD % b"/stream")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert answer.endswith(b"\r\n\r\n" + b"".join(b"%d" % i * 10 for i in range(5)))


def test_an_upgrade_is_no_business_of_applications_that_know_none(serve: Serve) -> None:
    """Flask answers 400 to a WebSocket's request, whatever the path."""
    answer = talk(serve().port, head("/nowhere", Upgrade="websocket", Connection="Upgrade, close"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert "HTTP_UPGRADE" not in body_of(answer)["environ"]


def test_http_without_tls_is_told_so_by_a_tls_port(serve: Serve) -> None:
    served = serve(tls=True, http={"header_time": 1.0})
    for sent in (head(), head("/echo", "POST", Content_Length="1000000") + bytes(1_000_000)):
        answer = talk(served.tls_port, sent)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n")
        header, _, body = answer.partition(b"\r\n\r\n")
        assert b"https://" in body and f"Content-Length: {len(body)}".encode() in header
    began = time.monotonic()
    assert talk(served.tls_port) == b""  # says nothing
    assert time.monotonic() - began < 5
    served.hit("handshake_seconds")


def test_streamed_answer(serve: Serve) -> None:
    answer = serve().request("GET", "/stream")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text == "".join(str(i) * 10 for i in range(5))


def test_failing_application(serve: Serve) -> None:
    served = serve()
    answer = talk(served.port, head("/broken"))
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"secret" not in answer
    assert b"X-Kept: told" in answer, "headers that the application left for whatever is answered"
    assert any("RuntimeError" in line and "server.py" in line for line in served.state()["log"])


@pytest.mark.parametrize("request_bytes", [b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                                           b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
                                           b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
                                           b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                                           b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                                           ])  # fmt: skip
@pytest.mark.parametrize("before", [b"", head("/slow")])
def test_malformed_request(serve: Serve, before: bytes, request_bytes: bytes) -> None:
    """It is answered and logged in one line, be it the first on its connection or right behind another."""
    served = serve()
    lines = len(served.state()["log"])
    answer = talk(served.port, before + request_bytes)
    assert answer.startswith(b"HTTP/1.1 200" if before else b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 400") == 1
    assert b"bytearray" not in answer
    log = served.state()["log"][lines:]
    assert len(log) == 1
    assert "127.0.0.1 was refused" in log[0]


def test_what_is_malformed_behind_an_upgrade(serve: Serve) -> None:
    """The body of a request that asks for a WebSocket is read before the socket changes hands."""
    asked = head(
        "/ws", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13", Sec_WebSocket_Key="A" * 22 + "=="
    )
    served = serve()
    assert talk(served.port, asked[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_refused_body_that_was_never_asked_for_ends_the_connection(serve: Serve) -> None:
    """The client may send it all the same or begin another request: nobody could tell the two apart."""
    with socket.create_connection(("127.0.0.1", serve().port), 10) as sock:
        sock.sendall(head("/refuse", "POST", Content_Length="3", Expect="100-continue"))
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(("limit", "status", "pieces"), [
    ("request_line_bytes", 414, [head("/" + "x" * 1000)]),
    ("request_line_bytes", 414, [b"GET /" + b"x" * 200_000]),
    ("header_bytes", 431, [head(X_Long="x" * 5000)]),
    ("headers", 431, [head()[:-2] + b"a:\r\n" * 100 + b"\r\n"]),
    ("headers", 431, [head("/echo", "POST", Transfer_Encoding="chunked"), b"0\r\n" + b"a:\r\n" * 101 + b"\r\n"]),
    ("chunk_line_bytes", 400, [head("/echo", "POST", Transfer_Encoding="chunked"), b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n"]),
    ("chunk_line_bytes", 400, [head("/echo", "POST", Transfer_Encoding="chunked"), b"5;" + b"a" * 300]),
    ("header_value_bytes", 431, [head(Accept="text/html," * 300)]),
    ("header_value_bytes", 431, [head()[:-2] + b"Content-Type: multipart/form-data; a=b\r\n" * 90 + b"\r\n"]),
    ("query_fields", 400, [head("/echo?" + "a&" * 100)]),
    ("header_seconds", 408, [b"GET / HTTP/1.1\r\nHo"]),
    ("body_bytes", 413, [head("/echo", "POST", Content_Length="100001"), b"x" * 100_001]),
    ("body_bytes", 413, [head("/echo", "POST", Transfer_Encoding="chunked"), b"186a1\r\n" + b"x" * 100_001 + b"\r\n0\r\n\r\n"]),
    ("body_rate", 408, [head("/echo", "POST", Content_Length="100"), b"x"]),
])  # fmt: skip
def test_limit(serve: Serve, limit: str, status: int, pieces: list[bytes]) -> None:
    patient = {"header_time": 20, "body_grace": 20, "drain_time": 0.5}  # a slow machine is not what is refused
    served = serve(http=SMALL if status == 408 else {**SMALL, **patient})
    before = served.state()["limits"].get(limit, 0)
    assert talk(served.port, *pieces).startswith(f"HTTP/1.1 {status}".encode())
    assert served.state()["limits"][limit] == before + 1


def test_a_refused_head_request_is_told_so_without_a_body(serve: Serve) -> None:
    served = serve(http=SMALL)
    for headers in ({"Content_Length": "100001"}, {"Expect": "other"}):
        answer = talk(served.port, head("/echo", "HEAD", **headers))
        assert answer.startswith(b"HTTP/1.1 4") and answer.endswith(b"\r\n\r\n")


def test_what_is_malformed_behind_a_head_request_is_told_so(serve: Serve) -> None:
    answer = talk(serve().port, head("/echo", "HEAD") + b"rubbish\x00\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.count(b"HTTP/1.1 400") == 1
    assert "not a proper HTTP request" in body_of(answer)["error"]


def test_a_slow_body_is_cut_with_its_answer(serve: Serve) -> None:
    """The time that others have for the rest of a refused body is not for one that does not come."""
    answer = talk(serve(http={**SMALL, "drain_time": 60}).port, head("/echo", "POST", Content_Length="100"), b"x")
    assert answer.startswith(b"HTTP/1.1 408")


def test_an_answer_that_nobody_takes_is_given_up(serve: Serve) -> None:
    served = serve(http={"send_time": 0.3})
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
        sock.sendall(head("/large"))
        served.hit("send_seconds")
        served.wait(lambda state: state["connections"]["tcp"] == 1)
    said = re.compile("127.0.0.1 took (nothing|only [0-9]+ bytes) of its answer")
    assert any(said.search(line) for line in served.state()["log"])


def test_slow_headers_are_cut_however_they_drip(serve: Serve) -> None:
    served = serve(http=SMALL)
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock, pytest.raises(OSError):  # noqa: PT012
        for _ in range(200):
            sock.sendall(b"G")
            time.sleep(0.02)


def test_early_refusal_of_a_large_body_reaches_the_client(serve: Serve) -> None:
    served = serve(http={**SMALL, "max_body_bytes": 40_000_000})
    answer = talk(served.port, head("/refuse", "POST", Content_Length="30000000", **LAST), b"x" * 30_000_000)
    assert answer.startswith(b"HTTP/1.1 403")
    answer = talk(served.port, head("/refuse", "POST", Content_Length="3") + b"abc", head(**LAST))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"HTTP/1.1 200 OK" in answer


def test_connections(serve: Serve) -> None:
    served = serve(http={"max_connections": 5})
    served.state()  # takes one, and keeps it
    held = [socket.create_connection(("127.0.0.1", served.port), 10) for _ in range(4)]
    served.wait(lambda state: state["connections"]["tcp"] == 5)
    assert talk(served.port).startswith(b"HTTP/1.1 503")
    for sock in held:
        sock.close()
    served.wait(lambda state: state["connections"]["tcp"] == 1)
    assert talk(served.port, head(**LAST)).startswith(b"HTTP/1.1 200")
    assert served.state()["limits"]["connections"] == 1


def test_connections_per_address(serve: Serve) -> None:
    served = serve(http={"max_per_address": 2})
    served.state()
    with socket.create_connection(("127.0.0.1", served.port), 10):
        served.wait(lambda state: state["connections"]["tcp"] == 2)
        assert talk(served.port) == b""
    served.wait(lambda state: state["connections"]["tcp"] == 1)
    assert served.state()["limits"]["connections_per_address"] == 1


def test_connections_per_forwarded_address(serve: Serve) -> None:
    served = serve(http={"max_per_address": 1}, proxies=["127.0.0.1"])
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
        sock.sendall(head("/slow", X_Forwarded_For="1.2.3.4", **LAST))
        time.sleep(0.1)
        assert talk(served.port, head(X_Forwarded_For="1.2.3.4")).startswith(b"HTTP/1.1 429")
        assert talk(served.port, head(X_Forwarded_For="1.2.3.5", **LAST)).startswith(b"HTTP/1.1 200")
        assert b"200 OK" in sock.recv(65536)
    assert talk(served.port, head(X_Forwarded_For="1.2.3.4", **LAST)).startswith(b"HTTP/1.1 200")


def test_stop_lets_requests_finish(serve: Serve) -> None:
    served = serve(http={"keep_alive_time": 30})
    with (
        socket.create_connection(("127.0.0.1", served.port), 10) as busy,
        socket.create_connection(("127.0.0.1", served.port), 10) as idle,
    ):
        idle.sendall(head())
        assert b"200 OK" in idle.recv(65536)
        busy.sendall(head("/slow"))
        served.request("GET", "/stop")
        assert idle.recv(100) == b""
        assert b"200 OK" in busy.recv(65536)
        assert busy.recv(100) == b""
    assert served.process.wait(10) == 0


def test_longest_prefix_wins() -> None:
    class Closed:
        pass

    server = HttpServer(Closed(), log=print)  # type: ignore[arg-type]
    apps = {prefix: (lambda _environ, _start: []) for prefix in ("", "/a", "/a/b", "/ws")}
    for prefix, app in apps.items():
        server.route(prefix, app)
    assert [server.application(path) for path in ("/x", "/a", "/a/c", "/a/b/c", "/ws")] == [
        apps[prefix] for prefix in ("", "/a", "/a", "/a/b", "/ws")
    ]


def test_who_is_turned_away_reads_why(serve: Serve) -> None:
    """A request that is on its way already must not bring a reset before the answer."""
    served = serve(http={"max_connections": 1})
    with socket.create_connection(("127.0.0.1", served.port), 10) as first:
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 200 " in first.recv(65536)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", served.port), 10) as second:
                second.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
                second.sendall(b"123456789")
                assert second.recv(65536).startswith(b"HTTP/1.1 503 ")
        first.sendall(b"GET /state HTTP/1.1\r\nHost: a\r\n\r\n")
        lines = [line for line in json.loads(first.recv(65536).partition(b"\r\n\r\n")[2])["log"] if "refused" in line]
        assert len(lines) == 1 and lines[0].endswith("(--max-connections)")


def test_who_is_turned_away_over_tls_is_told_by_an_alert(serve: Serve) -> None:
    served = serve(http={"max_connections": 1}, tls=True)
    with (
        socket.create_connection(("127.0.0.1", served.tls_port), 10),
        socket.create_connection(("127.0.0.1", served.tls_port), 10) as second,
        pytest.raises(ssl.SSLError, match="(?i)internal.error"),
    ):
        ssl._create_unverified_context().wrap_socket(second)
