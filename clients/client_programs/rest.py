"""Networks by name over REST, and pictures by PUT. Standard library only."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client_programs.credentials import credentials, not_let_in, sentence_in
from imageserver_client.connection import TRUST, Token, Trust, unreachable, url_of
from imageserver_client.errors import Refused, Unreachable, Wrong

OPERATIONS = ("about", "classify", "status", "train", "cancel")
RUNNING = ("preparing", "training", "evaluating")
"""States of a training that goes on."""
TIMEOUT = 60.0
"""Seconds without an answer after which the server counts as gone."""


class Rest:
    """An ImageServer over HTTP, without any proxy.

    Args:
        server: `host`, `host:port` or a URL.
        login: name and password, or a token; None: show none.
        trust: whom to believe over HTTPS.
        port: the port where the address names none; None: that of the scheme.
    """

    def __init__(
        self, server: str, login: tuple[str, str] | Token | None, trust: Trust = TRUST, port: int | None = None
    ) -> None:
        self.url = url_of(server, trust, port)
        self._login = login
        self._headers = {"Accept": "application/json", **credentials(login)}
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust.context())
        )

    def ask(
        self, network: str, operation: str = "about", argument: str | os.PathLike[str] | None = None
    ) -> dict[str, Any]:
        """Ask once and return the answer.

        Args:
            network: "list_nn" or a network's name.
            operation: one of OPERATIONS.
            argument: the picture file to classify, or the training sample ("mnist" or "other").

        Raises:
            Refused: with the server's own words and HTTP's status.
            Unreachable: there is no such server.
            Wrong: there is no such operation or file.
        """
        if network == "list_nn":
            return self._json("GET", "/list_nn")
        path = f"/{urllib.parse.quote(network, safe='')}"
        if operation == "about":
            return self._json("GET", f"{path}/about")
        if operation == "status":
            return self._json("GET", f"{path}/train/status")
        if operation == "train":
            sample = urllib.parse.quote(str(argument or "mnist"), safe="")
            return self._train(f"{path}/train?training_sample={sample}")
        if operation == "cancel":
            return self._json("POST", f"{path}/train/cancel", b"")
        if operation != "classify":
            raise Wrong(f"there is no operation {operation!r}: there are list_nn, {', '.join(OPERATIONS)}")
        if argument is None:
            raise Wrong("classify needs a picture file")
        try:
            picture = Path(argument).read_bytes()
        except OSError as error:
            raise Wrong(f"{argument} cannot be read: {error.strerror}") from error
        body = json.dumps({"image": base64.b64encode(picture).decode()}).encode()
        return self._json("POST", f"{path}/classify", body)

    def _train(self, path: str) -> dict[str, Any]:
        try:
            return self._json("POST", path, b"")
        except Refused as error:
            if error.status != 405:
                raise
            return self._json("GET", path)  # an older server takes no POST here; one that cannot train says so again

    def put_snippet(
        self, identity: int, picture: bytes, model: str | None = None, room: str = "", camera: str = ""
    ) -> dict[str, Any]:
        """Put the newest picture of a capture device; `room` hears of it. The server's answer. Refused, Unreachable."""
        given = (("model", model), ("room", room), ("name", camera))
        options = urllib.parse.urlencode({name: value for name, value in given if value})
        return self._json("PUT", f"/snippets/{identity}/?{options}", picture, "application/octet-stream")

    def follow(self, network: str) -> Iterator[dict[str, Any]]:
        """What happens in the network's training, event by event, until it ends."""
        with self._open("GET", f"/{urllib.parse.quote(network, safe='')}/train/events") as stream:
            for line in stream:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    yield event
                    if event["state"] not in RUNNING:
                        return

    def _json(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        with self._open(method, path, body, kind) as stream:
            try:
                found: dict[str, Any] = json.load(stream)
            except ValueError:
                raise Unreachable(f"{self.url} answers with something else than JSON: it is no ImageServer.") from None
            return found

    @contextlib.contextmanager
    def _open(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Iterator[Any]:
        headers = self._headers | ({"Content-Type": kind} if body is not None else {})
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as stream:
                yield stream
        except urllib.error.HTTPError as error:
            with error:
                said = sentence_in(error.read(10_000))
            if error.code == 401:
                raise not_let_in(self._login, 401) from None
            if said is None and self.url.startswith("http:") and error.code == 400:
                raise unreachable(self.url, http.client.HTTPException(f"it says {error.code}")) from None
            raise Refused(said or f"{error.code} {error.reason}", error.code) from None
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.url, error) from None
