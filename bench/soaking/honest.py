"""Honest clients of every door but the cameras, each in a thread, as a program beside the server.

    python bench/soaking/honest.py PORT TCP_PORT TLS_PORT

For each line on standard input it says, as a line of JSON, what became of each kind of request since the last one:
`{"rest": {"answered": 118, "told 503": 2}}`, and the milliseconds that each took.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

import socketio
import websocket
from bench.soaking.world import ADMIN, CAMERA, SOURCES, VIEWER
from tests.protocols.legacy_tcp.old_client import OldClient

PATIENCE = 60.0
TOLD = (401, 404, 406, 409, 429, 503, 507)
"""Statuses by which a server tells why it does not answer."""
SOURCE = (SOURCES["others"], 0)
PICTURE = (ROOT / "clients/samples/photos/astronaut.jpg").read_bytes()
DIGIT = (ROOT / "clients/samples/digits/7.png").read_bytes()
JSON = {"Content_Type": "application/json"}


class Unexpected(Exception):
    """An answer that is neither the right one nor a refusal."""


class Ports:
    """Where the server listens."""

    def __init__(self, http_port: int, tcp: int, tls: int) -> None:
        self.http, self.tcp, self.tls = http_port, tcp, tls

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        user: tuple[str, str] | None = None,
        *,
        secure: bool = False,
        **headers: str,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """One request on a connection of its own."""
        connection: http.client.HTTPConnection
        if secure:
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.tls, timeout=PATIENCE, source_address=SOURCE, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=PATIENCE, source_address=SOURCE)
        if user is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def wants(self, *statuses: int, **request: Any) -> str:
        """One request that should have one of these statuses: how it came out."""
        status, body, _ = self.ask(**request)
        if status in statuses:
            return "answered"
        if status in TOLD:
            return f"told {status}"
        raise Unexpected(f"{status} {body[:200]!r}")


def rest(ports: Ports, number: int) -> str:
    """A picture, by HTTP or HTTPS."""
    request = {
        "method": "POST",
        "path": "/faces/classify",
        "body": PICTURE,
        "user": CAMERA,
        "Content_Type": "image/jpeg",
    }
    return ports.wants(200, **request, secure=bool(number % 2))


def inference(ports: Ports, _number: int) -> str:
    """A digit, by the Open Inference Protocol."""
    data = base64.b64encode(DIGIT).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [data]}
    body = json.dumps({"inputs": [tensor]})
    return ports.wants(200, method="POST", path="/v2/models/lenet/infer", body=body, user=CAMERA, **JSON)


def snippets(ports: Ports, number: int) -> str:
    """A picture is kept, found in the list, read, and removed."""
    mine = 100 + number % 5
    user = {"user": ADMIN}
    outcome = ports.wants(
        200, 201, method="PUT", path=f"/snippets/{mine}/", body=PICTURE, Content_Type="image/jpeg", **user
    )
    if outcome != "answered":
        return outcome
    for method, path in (
        ("GET", "/snippets/?limit=50"),
        ("GET", f"/snippets/{mine}/"),
        ("DELETE", f"/snippets/{mine}/"),
    ):
        outcome = ports.wants(200, 204, method=method, path=path, **user)
        if outcome != "answered":
            return outcome
    return outcome


def accounts(ports: Ports, number: int) -> str:
    """A user is made and given a token, which is used; both are removed."""
    name = f"guest {number % 7}"
    path = "/users/" + name.replace(" ", "%20")
    body = json.dumps({"password": f"a long password {number}", "roles": ["camera"]})
    outcome = ports.wants(200, 201, method="PUT", path=path, body=body, user=ADMIN, **JSON)
    if outcome != "answered":
        return outcome
    made = json.dumps({"name": "soak", "user": name, "days": 1})
    status, answer, _ = ports.ask("POST", "/tokens/", made, ADMIN, **JSON)
    if status not in (200, 201):
        return f"told {status}"
    token = json.loads(answer)
    outcome = ports.wants(200, method="GET", path="/list_nn", Authorization=f"Bearer {token['token']}")
    ports.ask("DELETE", f"/tokens/{token['id']}", b"", ADMIN)
    ports.ask("DELETE", path, b"", ADMIN)
    return outcome


def pages(ports: Ports, _number: int) -> str:
    """A login on a page, a look, a logout."""
    body = json.dumps({"user": VIEWER[0], "password": VIEWER[1]})
    status, said, headers = ports.ask("POST", "/login", body, **JSON)
    if status not in (200, 204, 303):
        if status in TOLD:
            return f"told {status}"
        raise Unexpected(f"{status} {said[:200]!r}")
    cookie = headers["Set-Cookie"].partition(";")[0]
    outcome = ports.wants(200, method="GET", path="/streams/", Cookie=cookie)
    ports.ask("POST", "/logout", Cookie=cookie)
    return outcome


def figures(ports: Ports, _number: int) -> str:
    """What a monitor asks for."""
    for path in ("/metrics", "/streams/", "/health/live"):
        outcome = ports.wants(200, method="GET", path=path, user=VIEWER)
        if outcome != "answered":
            return outcome
    return outcome


def xray(ports: Ports, _number: int) -> str:
    """An X-ray, over the old TCP protocol."""
    with OldClient(socket.create_connection(("127.0.0.1", ports.tcp), PATIENCE, SOURCE)) as client:
        client.command(b"MODE", b"INCE")
        client.file(PICTURE)
        reply = client.predict()
        client.bye()
    return "answered" if reply in (b"0P", b"0N") else f"told {reply!r}"


def training(ports: Ports, _number: int) -> str:
    """A training is begun, looked at, and cancelled; or was already under way."""
    outcome = ports.wants(200, 202, 406, method="POST", path="/lenet/train", user=ADMIN)
    if outcome == "answered":
        time.sleep(2.0)
        ports.ask("POST", "/lenet/train/cancel", b"", ADMIN)
    return outcome


class Devices:
    """A device at `/ws` that is asked for pictures, and who asks. Connected anew when it was cut off."""

    def __init__(self) -> None:
        self._sockets: list[websocket.WebSocket] = []

    def __call__(self, ports: Ports, _number: int) -> str:
        try:
            if not self._sockets:
                self._sockets = [self._join(ports, user) for user in (CAMERA, VIEWER)]
            device, asker = self._sockets
            asker.send("snap")
            while device.recv() != "snap":
                pass
        except (OSError, websocket.WebSocketException):
            for sock in self._sockets:
                sock.close()
            self._sockets = []
            raise
        return "answered"

    def _join(self, ports: Ports, user: tuple[str, str]) -> websocket.WebSocket:
        login = base64.b64encode(":".join(user).encode()).decode()
        return websocket.create_connection(
            f"ws://127.0.0.1:{ports.http}/ws/soak",
            timeout=PATIENCE,
            header=[f"Authorization: Basic {login}"],
            suppress_origin=True,
            sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )


class Watched:
    """A session with models that keep state, over a polling connection of python-socketio; begun anew after a loss."""

    def __init__(self) -> None:
        self._client: socketio.Client | None = None
        self._time = 0

    def __call__(self, ports: Ports, _number: int) -> str:
        if self._client is None or not self._client.connected:
            self._client = socketio.Client(reconnection=False)
            auth = {"user": CAMERA[0], "password": CAMERA[1]}
            self._client.connect(
                f"http://127.0.0.1:{ports.http}", transports=["polling"], auth=auth, wait_timeout=PATIENCE
            )
            self._time = 1000
            if told := self._call("session_start", struct.pack("<Q", self._time)):
                return told
        self._time += 200
        return self._call("frame", struct.pack("<Q", self._time) + PICTURE) or "answered"

    def _call(self, event: str, data: bytes) -> str:
        assert self._client is not None
        try:
            answer = json.loads(self._client.call(event, data, timeout=PATIENCE))
        except Exception:
            self._client.disconnect()
            raise
        return "" if answer["success"] else f"told {answer.get('error', answer)}"


KINDS: dict[str, tuple[float, Callable[[Ports, int], str]]] = {
    "rest": (1.0, rest),
    "v2": (1.0, inference),
    "snippets": (3.0, snippets),
    "users and tokens": (5.0, accounts),
    "pages": (10.0, pages),
    "figures": (5.0, figures),
    "x-rays": (2.0, xray),
    "training": (90.0, training),
    "/ws": (1.0, Devices()),
    "session": (0.4, Watched()),
}
"""Kinds of clients: seconds between two requests, and the request."""


class Outcomes:
    """What became of the requests since somebody looked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.took: defaultdict[str, list[float]] = defaultdict(list)

    def note(self, kind: str, outcome: str, seconds: float) -> None:
        with self._lock:
            self.counts[kind][outcome] += 1
            self.took[kind].append(round(seconds * 1e3, 1))

    def take(self) -> dict[str, Any]:
        with self._lock:
            found = {"counts": self.counts, "took": self.took}
            self.begin()
        return found


def repeat(kind: str, ports: Ports, outcomes: Outcomes) -> None:
    """Ask again and again."""
    pause, ask = KINDS[kind]
    number = 0
    while True:
        number += 1
        begun = time.monotonic()
        try:
            outcome = ask(ports, number)
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the outcome
            outcome = f"lost: {type(error).__name__}: {re.sub(r'[0-9]+', 'n', str(error))}"[:120]
        seconds = time.monotonic() - begun
        outcomes.note(kind, outcome, seconds)
        time.sleep(max(0.05, pause - seconds))


def main() -> None:
    ports, outcomes = Ports(*(int(text) for text in sys.argv[1:4])), Outcomes()
    for kind in KINDS:
        threading.Thread(target=repeat, args=[kind, ports, outcomes], daemon=True).start()
    for _line in sys.stdin:
        print(json.dumps(outcomes.take()), flush=True)


if __name__ == "__main__":
    main()
