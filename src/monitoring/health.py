"""`/health/live` and `/health/ready`: what a supervisor, a load balancer or a script asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

StartResponse = Callable[..., Any]


class Health:
    """A WSGI application. `ready` returns None when all is well, else one sentence saying what is not."""

    def __init__(self, ready: Callable[[], str | None]) -> None:
        self._ready = ready

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"].rstrip("/")
        if path == "/health/live":
            status, answer = "200 OK", {"status": "live"}
        elif path == "/health/ready":
            problem = self._ready()
            status, answer = (
                ("200 OK", {"status": "ready"}) if problem is None else ("503 Service Unavailable", {"error": problem})
            )
        else:
            status, answer = "404 Not Found", {"error": "there is nothing here; try /health/live or /health/ready"}
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, answer = "405 Method Not Allowed", {"error": "only GET and HEAD"}
        body = json.dumps(answer).encode()
        start_response(
            status,
            [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
