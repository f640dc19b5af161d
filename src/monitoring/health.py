"""`/health/live` and `/health/ready`: what a supervisor, a load balancer or a script asks."""

from __future__ import annotations

from collections.abc import Callable

from imageserver.errors import Refused
from imageserver.web import openapi
from imageserver.web.access import Access
from imageserver.web.application import Application
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

_TAG = "Health"


class Health:
    """The views. `not_ready` returns one sentence on what is wrong, None when all is well."""

    def __init__(self, not_ready: Callable[[], str | None]) -> None:
        self._not_ready = not_ready

    @operation("GET", "/health/live", tag=_TAG, answers={200: "Status"})
    def live(self, _request: Request) -> Response:
        """Whether the server answers at all."""
        return answer({"status": "live"})

    @operation("GET", "/health/ready", tag=_TAG, answers={200: "Status", 503: "Error"})
    def ready(self, _request: Request) -> Response:
        """Whether the server is ready: its default model is, and it is not stopping."""
        if problem := self._not_ready():
            raise Refused(503, problem)
        return answer({"status": "ready"})


def application(not_ready: Callable[[], str | None], access: Access, *, log: Callable[[str], None]) -> Application:
    """The application for `/health/`; `not_ready` as in `Health`."""
    nothing = "there is nothing here; try /health/live or /health/ready"
    return Application(openapi.routes(Health(not_ready)), access, log=log, nothing=nothing)
