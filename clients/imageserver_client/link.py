"""A Socket.IO connection to the server as a client has it. Every wait has an end."""

from __future__ import annotations

import queue
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import socketio

from imageserver_client.connection import TRUST, Trust, unreachable, url_of
from imageserver_client.errors import Lost, Refused

UNAUTHENTICATED = "authenticate first"
"""How the server's sentences begin for a client that has not authenticated and should have."""

Message = TypeVar("Message")


class Link(Generic[Message]):
    """What camera and session have in common: connecting, and waiting for what the server says.

    Args:
        server: `host:port` or a URL.
        timeout: seconds to wait for each answer of the server's.
        trust: whom to believe over HTTPS.
        camera: the camera's name; "": none.
    """

    def __init__(self, server: str, timeout: float, trust: Trust = TRUST, camera: str = "") -> None:
        self._url, self._trust, self._timeout = url_of(server, trust), trust, timeout
        self._query = "?" + urllib.parse.urlencode({"name": camera}) if camera else ""
        self._client: Any = None
        self._messages: queue.Queue[Message | None] = queue.Queue()

    def __exit__(self, *_exception: object) -> None:
        if self._client is not None:
            self._client.disconnect()

    def receive(self, timeout: float) -> Message | None:
        """What the server says next; None when it says nothing within `timeout` seconds. Lost when it is gone."""
        try:
            message = self._messages.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if message is None:
            raise Lost("The connection to the server is lost.")
        return message

    def _connect(self, events: Mapping[str, Callable[[str], Message]], auth: dict[str, str] | None = None) -> None:
        """Connect anew; `events` make of each event's text what `receive` returns.

        Raises:
            Refused: the server does not take `auth`.
            Unreachable: there is no such server.
        """
        who = repr(auth["user"]) if auth and "user" in auth else "you"
        client = self._client = socketio.Client(
            reconnection=False,
            handle_sigint=False,
            # An Origin is for browsers, which a server asks for a name that it knows.
            websocket_extra_options={"sslopt": self._trust.websocket_options(), "suppress_origin": True},
        )
        messages = self._messages = queue.Queue()  # what an earlier connection still says goes to the earlier queue
        for event, read in events.items():
            client.on(event, lambda text, read=read: messages.put(read(text)))
        client.on("disconnect", lambda *_reason: messages.put(None))
        refusals: list[Any] = []
        client.on("connect_error", refusals.append)
        try:
            client.connect(
                self._url + self._query,
                transports=["websocket"],
                auth=auth or None,
                wait_timeout=self._timeout,
                socketio_path=f"{urllib.parse.urlsplit(self._url).path}/socket.io",
            )
        except (socketio.exceptions.ConnectionError, ValueError, OSError) as error:
            for said in refusals:
                if isinstance(said, dict) and "message" in said:
                    raise Refused(f"The server does not let {who} in: {said['message']}.") from None
            raise unreachable(self._url, error) from None
