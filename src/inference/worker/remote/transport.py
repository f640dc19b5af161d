"""What both ways of asking an endpoint have in common, and what HTTP status codes of an answer mean."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
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


class BatchTime(threading.local):
    """Until when those may answer that a thread asks. Each thread has its own.

    Args:
        seconds: for a batch, however many questions become of it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    @contextlib.contextmanager
    def of_batch(self) -> Iterator[None]:
        """All that is asked within is of one batch."""
        self._end = time.monotonic() + self._seconds
        try:
            yield
        finally:
            self._end = None

    def deadline(self) -> tuple[float, bool]:
        """That of a question that is asked now, and whether less than half of the time is left for it."""
        now = time.monotonic()
        end = now + self._seconds if self._end is None else self._end
        return end, end - now < self._seconds / 2


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
