"""Requests of clients in the field, as they send them: every party has to answer them. See `rows.py`."""

from __future__ import annotations

_HEADS = {
    "python-requests": """\
GET /@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: python-requests/2.32.3
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive
Authorization: Basic dGVzdF9ubjpsZW5ldA==
""",
    "python-requests, a form": """\
POST /@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: python-requests/2.32.3
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive
Content-Length: 5
Content-Type: multipart/form-data; boundary=------------------------d74496d66958873e
""",
    "urllib3, chunks": """\
POST /@@@@@/first HTTP/1.1
Host: localhost
Accept-Encoding: identity
User-Agent: python-urllib3/2.2.1
Transfer-Encoding: chunked
""",
    "http.client": """\
GET /@@@@@/first HTTP/1.1
Host: localhost:8080
Accept-Encoding: identity
""",
    "curl": """\
GET /@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: curl/8.5.0
Accept: */*
""",
    "curl, a large file": """\
PUT /@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: curl/7.88.1
Accept: */*
Content-Length: 5
Expect: 100-continue
""",
    "curl, from a pipe": """\
PUT /@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: curl/7.88.1
Accept: */*
Transfer-Encoding: chunked
Expect: 100-continue
""",
    "curl through a proxy": """\
GET http://localhost:8080/@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: curl/8.5.0
Accept: */*
Proxy-Connection: Keep-Alive
""",
    "curl --http2": """\
POST /@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: curl/8.5.0
Accept: */*
Connection: Upgrade, HTTP2-Settings
Upgrade: h2c
HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA
Content-Length: 5
""",
    "wget": """\
GET /@@@@@/first HTTP/1.1
User-Agent: Wget/1.21.3
Accept: */*
Accept-Encoding: identity
Host: localhost:8080
Connection: Keep-Alive
""",
    "okhttp, Engine.IO 3": """\
POST /@@@@@/first?EIO=3&transport=polling&t=1669640000-0&sid=Wq3u-9Zk_AAAA HTTP/1.1
Accept: */*
Content-Type: application/octet-stream
Content-Length: 5
Host: 192.168.1.20:8080
Connection: Keep-Alive
Accept-Encoding: gzip
User-Agent: okhttp/3.12.12
""",
    "okhttp, a poll": """\
GET /@@@@@/first?EIO=3&transport=polling&t=1669640000-0&sid=Wq3u-9Zk_AAAA HTTP/1.1
Accept: */*
Host: 192.168.1.20:8080
Connection: Keep-Alive
Accept-Encoding: gzip
User-Agent: okhttp/2.4.0
""",
    "Java's HttpURLConnection": """\
GET /@@@@@/first?EIO=3&transport=polling&t=1669640000-0&sid=Wq3u-9Zk_AAAA HTTP/1.1
User-Agent: Java/1.8.0_292
Host: 192.168.1.20:8080
Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2
Connection: keep-alive
""",
    "Java's HttpURLConnection, a POST": """\
POST /@@@@@/first HTTP/1.1
Content-type: text/plain;charset=UTF-8
Cache-Control: no-cache
Pragma: no-cache
User-Agent: Dalvik/2.1.0 (Linux; U; Android 9)
Host: 192.168.1.20:8080
Connection: Keep-Alive
Accept-Encoding: gzip
Content-Length: 5
""",
    "Java's HttpClient": """\
POST /@@@@@/first HTTP/1.1
Connection: Upgrade, HTTP2-Settings
Content-Length: 5
Host: localhost:8080
HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA
Upgrade: h2c
User-Agent: Java-http-client/17.0.1
""",
    "Firefox": """\
GET /@@@@@/first HTTP/1.1
Host: localhost:8080
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: de,en-US;q=0.7,en;q=0.3
Accept-Encoding: gzip, deflate, br, zstd
DNT: 1
Connection: keep-alive
Cookie: name=Jürgen; a=b
Upgrade-Insecure-Requests: 1
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: none
Sec-Fetch-User: ?1
Priority: u=0, i
""",
    "Chrome, a poll of Engine.IO 4": """\
POST /@@@@@/first?EIO=4&transport=polling&t=OaBcDeF&sid=a-_bc HTTP/1.1
Host: localhost:8080
Connection: keep-alive
Content-Length: 5
sec-ch-ua: "Chromium";v="120", "Not A(Brand";v="24"
sec-ch-ua-mobile: ?0
Content-type: text/plain;charset=UTF-8
Accept: */*
Origin: http://localhost:8080
Referer: http://localhost:8080/
Accept-Encoding: gzip, deflate, br
Accept-Language: en-US,en;q=0.9
""",
    "a preflight": """\
OPTIONS /@@@@@/first HTTP/1.1
Host: localhost:8080
Access-Control-Request-Method: POST
Origin: null
Content-Length: 0
""",
    "Node": """\
POST /@@@@@/first HTTP/1.1
User-Agent: node-XMLHttpRequest
Accept: */*
Content-type: text/plain;charset=UTF-8
Host: localhost:8080
Content-Length: 5
Connection: close
""",
    "a WebSocket to a path that takes none": """\
GET /@@@@@/first HTTP/1.1
Upgrade: websocket
Host: localhost:8080
Origin: http://localhost:8080
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==
Sec-WebSocket-Version: 13
Connection: Upgrade
""",
    "nginx as it is": """\
GET /@@@@@/first HTTP/1.0
Host: imageserver
Connection: close
X-Forwarded-For: 192.168.1.7
""",
    "nginx, HTTP/1.1": """\
POST /@@@@@/first HTTP/1.1
Host: cameras.example.org
X-Forwarded-For: 192.168.1.7
X-Forwarded-Proto: https
Content-Length: 5
""",
    "ab": """\
GET /@@@@@/first HTTP/1.0
Connection: Keep-Alive
User-Agent: ApacheBench/2.3
Accept: */*
""",
    "HTTP/1.0 without a header": """\
GET /@@@@@/first HTTP/1.0
""",
    "a health check": """\
HEAD /@@@@@/first HTTP/1.0
""",
}

CLOSING = ("Node", "nginx as it is", "HTTP/1.0 without a header", "a health check")
"""Those that want the connection closed."""


def requests() -> dict[str, bytes]:
    """The requests by the names of their clients."""
    return {name: _request(head) for name, head in _HEADS.items()}


def _request(head: str) -> bytes:
    body = b""
    if "Transfer-Encoding: chunked" in head:
        body = b"5\r\nhello\r\n0\r\n\r\n"
    elif "Content-Length: 5" in head:
        body = b"hello"
    return head.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body
