"""`/health/live` and `/health/ready`: what a supervisor, a load balancer or a script asks."""

from __future__ import annotations

from collections.abc import Callable

from imageserver.errors import Refused
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request, Response, answer


def application(not_ready: Callable[[], str | None], access: Access, *, log: Callable[[str], None]) -> Application:
    """The application for `/health/`. `not_ready` returns one sentence on what is wrong, None when all is well."""

    def live(_request: Request) -> Response:
        return answer({"status": "live"})

    def ready(_request: Request) -> Response:
        if problem := not_ready():
            raise Refused(503, problem)
        return answer({"status": "ready"})

    routes = [Route("GET", "/health/live", live), Route("GET", "/health/ready", ready)]
    return Application(routes, access, log=log, nothing="there is nothing here; try /health/live or /health/ready")
