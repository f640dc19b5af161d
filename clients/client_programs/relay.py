"""The relay of Snap: a plain WebSocket on which every text reaches everybody else in the room."""

from __future__ import annotations

import json
import random
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import websocket

from client_programs.credentials import credentials, not_let_in, sentence_in
from imageserver_client.connection import TRUST, Token, Trust, unreachable, url_of
from imageserver_client.errors import Lost, Unreachable

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
OPEN_WITHIN = 10.0
PING_EVERY = 20.0


class Room:
    """A connection to the relay. Use as a context.

    Args:
        server: `host:port` or a URL.
        room: the room to be in; "": the common one.
        login: name and password, or a token, for a server that asks.
        trust: whom to believe over HTTPS.
        camera: the name of the camera that stands here; "": none.

    Raises:
        Refused: the server wants a login, or another one.
        Unreachable: there is no such server.
    """

    def __init__(
        self,
        server: str,
        room: str = "",
        login: tuple[str, str] | Token | None = None,
        trust: Trust = TRUST,
        camera: str = "",
    ) -> None:
        url = url_of(server, trust)
        address = "ws" + url.removeprefix("http") + "/ws" + (f"/{urllib.parse.quote(room, safe='')}" if room else "")
        if camera:
            address += "?" + urllib.parse.urlencode({"name": camera})
        headers = credentials(login)
        tls = trust.websocket_options()
        try:
            self._ws = websocket.create_connection(
                address,
                timeout=OPEN_WITHIN,
                header=headers,
                sslopt=tls,
                suppress_origin=True,  # which is for browsers: a server asks them for a name that it knows
            )
        except websocket.WebSocketBadStatusException as error:
            if error.status_code == 401:
                raise not_let_in(login) from None
            if (said := sentence_in(error.resp_body)) is not None:
                raise Unreachable(f"The server does not open {address}: {said}.") from None
            raise unreachable(url, error) from None
        except (OSError, websocket.WebSocketException) as error:
            raise unreachable(url, error) from None

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ws.close()

    def send(self, text: str) -> None:
        self._ws.send(text)

    def texts(self, timeout: float | None = None) -> Iterator[str]:
        """The texts that come, for at most `timeout` seconds (None: for ever). Lost when the connection ends."""
        end = None if timeout is None else time.monotonic() + timeout
        while end is None or time.monotonic() < end:
            self._ws.settimeout(PING_EVERY if end is None else max(0.01, min(PING_EVERY, end - time.monotonic())))
            try:
                kind, data = self._ws.recv_data()
            except websocket.WebSocketTimeoutException:
                self._ws.ping()  # a connection that died in silence shows itself so
                continue
            except (OSError, websocket.WebSocketException) as error:
                raise Lost(f"The connection to the server is lost ({error}).") from None
            if kind == websocket.ABNF.OPCODE_CLOSE:
                reason = data[2:].decode(errors="replace").rstrip(".")
                raise Lost(f"The server closed the connection{f' ({reason})' if reason else ''}.")
            yield data.decode(errors="replace")


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
