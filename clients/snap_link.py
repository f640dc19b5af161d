"""What capture.py and snap.py share: the relay's WebSocket, and credentials for everything."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import websocket

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
PING_EVERY = 20.0


class Unreachable(Exception):
    """The server is not there, or turned us away: one sentence."""


def base_url(server: str) -> str:
    """`host:port` or a URL as `http://host:port`, without a slash at the end."""
    return (server if "://" in server else f"http://{server}").rstrip("/")


def headers(login: tuple[str, str] | None) -> list[str]:
    """HTTP Basic credentials as header lines."""
    if login is None:
        return []
    return ["Authorization: Basic " + base64.b64encode(":".join(login).encode()).decode()]


class Room:
    """A connection to the relay. Use as a context. Unreachable when it cannot be had."""

    def __init__(self, server: str, room: str = "", login: tuple[str, str] | None = None, timeout: float = 10.0) -> None:
        url = "ws" + base_url(server).removeprefix("http") + "/ws" + (f"/{room}" if room else "")
        try:
            self._ws = websocket.create_connection(url, timeout=timeout, header=headers(login))
        except websocket.WebSocketBadStatusException as error:
            reason = "wants a user's name and password" if error.status_code == 401 else f"answers {error.status_code}"
            raise Unreachable(f"{url} {reason}") from None
        except (OSError, websocket.WebSocketException) as error:
            raise Unreachable(f"{url} cannot be reached ({error})") from None

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ws.close()

    def send(self, text: str) -> None:
        self._ws.send(text)

    def texts(self, timeout: float | None = None) -> Iterator[str]:
        """The texts that come, for at most `timeout` seconds (None: for ever). Unreachable when the connection ends."""
        end = None if timeout is None else time.monotonic() + timeout
        while end is None or time.monotonic() < end:
            self._ws.settimeout(PING_EVERY if end is None else max(0.01, min(PING_EVERY, end - time.monotonic())))
            try:
                text = self._ws.recv()
            except websocket.WebSocketTimeoutException:
                self._ws.ping()  # a connection that died in silence shows itself so
                continue
            except (OSError, websocket.WebSocketException) as error:
                raise Unreachable(f"the connection ended ({error})") from None
            if not text:
                raise Unreachable("the server closed the connection")
            yield text if isinstance(text, str) else text.decode(errors="replace")


def announcement(text: str) -> dict[str, Any] | None:
    """The server's `{"snippet": …, "prediction": …}` in a text, None when it is something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "snippet" in found else None


def delays(jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before each further try: doubling up to `LONGEST_DELAY`, each by up to half shorter at random."""
    delay = FIRST_DELAY
    while True:
        yield delay * (1 - jitter() / 2)
        delay = min(LONGEST_DELAY, delay * 2)
