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
    """The views.

    Args:
        not_ready: Returns one sentence on what is wrong, None when all is well.
        lacking: Returns one on what is gone without which cameras stream on, "" when nothing is.
    """

    def __init__(self, not_ready: Callable[[], str | None], lacking: Callable[[], str]) -> None:
        self._not_ready, self._lacking = not_ready, lacking

    @operation("GET", "/health/live", tag=_TAG, answers={200: "Status"})
    def live(self, _request: Request) -> Response:
        """Whether the server answers at all."""
        return answer({"status": "live"})

    @operation("GET", "/health/ready", tag=_TAG, answers={200: "Status", 503: "Error"})
    def ready(self, _request: Request) -> Response:
        """Whether the server is ready: its default model is, and it is not stopping.

        `lacking` is there while something is gone without which cameras stream on, such as a database of users.
        """
        if problem := self._not_ready():
            raise Refused(503, problem)
        lacking = self._lacking()
        return answer({"status": "ready"} | ({"lacking": lacking} if lacking else {}))


def application(
    not_ready: Callable[[], str | None],
    access: Access,
    *,
    lacking: Callable[[], str] = lambda: "",
    log: Callable[[str], None],
) -> Application:
    """The application for `/health/`; `not_ready` and `lacking` as in `Health`."""
    nothing = "there is nothing here; try /health/live or /health/ready"
    return Application(openapi.routes(Health(not_ready, lacking)), access, log=log, nothing=nothing)
