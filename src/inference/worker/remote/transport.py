"""What both ways of asking an endpoint have in common, and what HTTP status codes of an answer mean."""

from __future__ import annotations

import time
from typing import NoReturn, Protocol

from imageserver.errors import EndpointFailed, EndpointRefused
from imageserver.inference.worker.remote.messages import Answer, ModelForm, Question


class Transport(Protocol):
    """An endpoint as it is asked, from many threads. `deadline` is of time.monotonic().

    All methods raise EndpointFailed; its sentence does not name the endpoint.
    """

    def form(self, deadline: float) -> ModelForm:
        """What the model takes and gives. May look up the endpoint's name, which nothing else does."""

    def ready(self, deadline: float) -> None:
        """Return if the model is ready there."""

    def infer(self, question: Question, deadline: float) -> Answer:
        """Ask the model. EndpointRefused: it does not take this."""

    def close(self) -> None:
        """End what is open."""


def left(deadline: float) -> float:
    """Seconds until then. EndpointFailed: there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0.0:
        raise EndpointFailed("did not answer in time")
    return seconds


def refuse(status: int, fault: str) -> NoReturn:
    """Raise what an answer with another status than 200 means; `fault`: what it says itself, or ""."""
    said = f": {fault}" if fault else ""
    if status in (400, 413, 415, 422):
        raise EndpointRefused(f"answers {status}{said}", broken=False)
    if status == 500:
        raise EndpointRefused(f"answers {status}{said}", broken=True)
    if status in (401, 403):
        raise EndpointFailed(f"refuses the login with {status}{said}: see user and password_file, or token_file")
    if status == 404:
        raise EndpointFailed(f"does not have the model{said}")
    if 300 <= status < 400:
        raise EndpointFailed(f"answers {status}, and redirects are not followed: name the address that it leads to")
    raise EndpointFailed(f"answers {status}{said}")
