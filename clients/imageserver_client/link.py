"""A Socket.IO connection to the server, as a client opens it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import socketio

from imageserver_client.connection import Trust, unreachable
from imageserver_client.errors import Refused

UNAUTHENTICATED = "authenticate first"
"""How the server's sentences begin for a client that has not authenticated and should have."""


def connect(
    url: str, events: Mapping[str, Callable[..., None]], auth: dict[str, str], name: str, trust: Trust, timeout: float
) -> Any:
    """Open a connection and wait until it stands.

    Args:
        url: the server's, as `url_of` gives it.
        events: what is called with the arguments of each event, "disconnect" among them, by a thread of the client's.
        auth: what the connection shows; empty: nothing.
        name: the camera's; "": none.
        trust: whom to believe over HTTPS.
        timeout: seconds to wait.

    Returns:
        python-socketio's client. It does not reconnect.

    Raises:
        Refused: the server does not take `auth`.
        Unreachable: there is no such server.
    """
    client = socketio.Client(
        reconnection=False,
        handle_sigint=False,
        # An Origin is for browsers, which a server asks for a name that it knows.
        websocket_extra_options={"sslopt": trust.websocket_options(), "suppress_origin": True},
    )
    for event, hear in events.items():
        client.on(event, hear)
    refusals: list[Any] = []
    client.on("connect_error", refusals.append)
    query = "?" + urllib.parse.urlencode({"name": name}) if name else ""
    path = f"{urllib.parse.urlsplit(url).path}/socket.io"
    try:
        client.connect(
            url + query, transports=["websocket"], auth=auth or None, wait_timeout=timeout, socketio_path=path
        )
    except (socketio.exceptions.ConnectionError, ValueError, OSError) as error:
        who = repr(auth["user"]) if "user" in auth else "you"
        for said in refusals:
            if isinstance(said, dict) and "message" in said:
                raise Refused(f"The server does not let {who} in: {said['message']}.") from None
        raise unreachable(url, error) from None
    return client
