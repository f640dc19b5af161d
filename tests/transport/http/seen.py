"""A WSGI application that says which requests its server has seen, and this project's server with it.

seen.py: serves it, and prints the port. `/records` has what was seen, by tag.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any

_TAG = re.compile(r"[a-z][0-9]{4}")
_RECORDS: dict[str, list[str]] = {}


def describe(method: str, target: str, body: bytes) -> str:
    """A request in a few words, the same whoever read it."""
    body = re.sub(rb"/[a-z][0-9]{0,4}(?=/|\Z)", b"/tag", body)
    which = next((name for name in ("first", "hidden", "probe") if f"/{name}" in target), "other")
    return f"{method} {which} {len(body)} {zlib.crc32(body)}"


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/records":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(_RECORDS).encode()]
    target = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
    seen = describe(environ["REQUEST_METHOD"], target, environ["wsgi.input"].read())
    tag = _TAG.search(target)
    name = tag[0] if tag else "none"
    _RECORDS.setdefault(name, []).append(seen)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Seen", f"{name} {seen}")])
    return [f"{name} {seen}\n".encode()]  # HTTP/0.9, which nginx still answers, has no headers


def main() -> None:
    root = Path(__file__).resolve().parents[3]
    sys.path[:0] = [str(root), str(root / "src")]
    import bootstrap

    bootstrap.provide_package()
    from imageserver.limits import Limits
    from imageserver.transport import hub
    from imageserver.transport.http.server import HttpServer

    limits = Limits(header_time=4.0, body_grace=4.0, keep_alive_time=10.0, drain_time=4.0)
    server = HttpServer(hub.listen("127.0.0.1", 0), limits, log=lambda _line: None)
    server.route("", application)
    print(server.port, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
