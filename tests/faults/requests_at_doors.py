"""Single requests at every door that answers them, one after the other at each, and what became of them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

import requests
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import PATIENCE, Server, picture

PAUSE = 0.05
"""Seconds between an answer and the next request at a door."""
TOLD = (406, 408, 429, 500, 503)
"""Statuses by which a request is told that it is not answered; its body is a sentence."""


class Requests:
    """REST, the Open Inference Protocol, snippets and legacy TCP commands ask for as long as this is a context.

    `answered`, `told` and `lost` count by the name of the door; `lost` got neither an answer nor a sentence.
    """

    def __init__(self, server: Server, model: str = "echo") -> None:
        self.answered: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.sentences: set[str] = set()
        self._server, self._model = server, model
        self._tcp_port = int(server.wait_for(r"legacy TCP listening on \S*:(\d+)")[1])
        self._ended = threading.Event()
        self._closing = contextlib.ExitStack()
        doors: tuple[tuple[str, Callable[[], Callable[[], bool]]], ...] = (
            ("REST", self._rest),
            ("v2", self._v2),
            ("snap", self._snap),
            ("TCP", self._tcp),
        )
        self._threads = [threading.Thread(target=self._ask, args=door) for door in doors]

    def __enter__(self) -> Requests:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._closing.close()

    @property
    def every_door(self) -> int:
        """Answers at the door that had the fewest."""
        return min(self.answered[door] for door in ("REST", "v2", "snap", "TCP"))

    def __str__(self) -> str:
        return f"{self.answered.total()} requests answered, {self.told.total()} told, {self.lost.total()} lost"

    def _ask(self, door: str, open_door: Callable[[], Callable[[], bool]]) -> None:
        ask: Callable[[], bool] | None = None
        while not self._ended.wait(PAUSE):
            try:
                ask = ask or open_door()
                if ask():
                    self.answered[door] += 1
                else:
                    self.told[door] += 1
            except (OSError, EOFError) as error:  # requests' own errors are of these
                ask = None
                if not self._ended.is_set():
                    self.lost[door] += 1
                    self.sentences.add(f"{door}: {error!r}")
                    time.sleep(PAUSE)

    def _over_http(self, method: str, path: str, **body: object) -> Callable[[], bool]:
        session = self._closing.enter_context(requests.Session())
        session.auth = ("somebody", "some password")

        def ask() -> bool:
            answer = session.request(method, self._server.url + path, timeout=PATIENCE, **body)  # type: ignore[arg-type]
            if answer.status_code not in TOLD:
                assert answer.ok, answer.text
                return True
            self.sentences.add(json.loads(answer.text)["error"])
            return False

        return ask

    def _rest(self) -> Callable[[], bool]:
        headers = {"Content-Type": "image/jpeg"}
        return self._over_http("POST", f"/{self._model}/classify", data=picture(20), headers=headers)

    def _v2(self) -> Callable[[], bool]:
        tensor = {"name": "image", "shape": [1, 16, 16, 1], "datatype": "UINT8", "data": [7] * 256}
        return self._over_http("POST", f"/v2/models/{self._model}/infer", json={"inputs": [tensor]})

    def _snap(self) -> Callable[[], bool]:
        return self._over_http("PUT", "/snippets/1/", data=picture(30), headers={"Content-Type": "image/jpeg"})

    def _tcp(self) -> Callable[[], bool]:
        """One connection to the model `chest`; a picture and a question each time."""
        client = OldClient(socket.create_connection(("127.0.0.1", self._tcp_port), timeout=PATIENCE))
        self._closing.enter_context(client)
        client.command(b"MODE", b"INCE")

        def ask() -> bool:
            reply = client.file(picture(200)) + client.predict()
            if not reply:
                raise EOFError("the server closed")
            assert reply in (b"000P", b"003"), reply
            return reply == b"000P"

        return ask
