"""Phones on polling send frames as text. Before their login such a frame is refused like any other, and they stay."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.peer import Peer, framed
from tests.running import Server, picture
from tests.transport.sio import PATH

HERE = Path(__file__).resolve().parent
HEADER = '451-["receiveImage",{"_placeholder":true,"num":0}]'
SIZES = [8_000, 1_000_000, 16 * 2**20]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("-a", "--user", "alice:wonder:land", data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


class Phone:
    """A client on polling that sends each packet as it is told."""

    def __init__(self, port: int, version: int) -> None:
        self.peer, self.version = Peer(port), version
        self.query: dict[str, Any] = {"EIO": version, "transport": "polling"}
        if version == 3:
            self.query["b64"] = 1
        text = self.peer.request("GET", PATH, **self.query).text
        self.query["sid"] = text.partition('"sid":"')[2].partition('"')[0]
        if version == 4:
            self.post("40")
            self.fetch()

    def post(self, *packets: str) -> None:
        assert self.peer.request("POST", PATH, framed(self.version, *packets), **self.query).text == "ok"

    def fetch(self) -> str:
        """What the next poll brings that is no heartbeat."""
        while True:
            text = self.peer.request("GET", PATH, **self.query).text
            if text not in ("2", "1:6"):
                return text

    def ask(self, data: bytes) -> dict[str, Any]:
        """Send a frame as text; the answer."""
        self.post(HEADER, ("b4" if self.version == 3 else "b") + base64.b64encode(data).decode())
        text = self.fetch()
        answer: dict[str, Any] = json.loads(json.loads(text[text.index("[") :])[1])
        return answer


def refused(server: Server) -> float:
    name = 'imageserver_frames_refused_total{protocol="camstream",reason="not authenticated"}'
    request = Peer(server.port).http.get(server.url + "/metrics", auth=("alice", "wonder:land"), timeout=10)
    return sum(float(line.split()[-1]) for line in request.text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("version", [3, 4])
def test_a_frame_as_text_is_refused_before_login_and_taken_after_it(guarded: Server, version: int) -> None:
    phone, before = Phone(guarded.port, version), refused(guarded)
    for number, size in enumerate(SIZES, 1):
        answer = phone.ask(b"\1" * size)
        assert (answer["error"].partition(":")[0], answer["seq"]) == ("authenticate first", number)
    assert refused(guarded) == before + len(SIZES)
    phone.post('42["authenticate","alice","wonder:land","onAuthentication"]')
    assert phone.fetch().endswith('42["onAuthentication",true]')
    assert phone.ask(picture(200))["label"] == "200"
    for size in SIZES:
        assert "authenticate" not in phone.ask(b"\1" * size)["error"]
    phone.post("1")


@pytest.mark.parametrize("package", ["socket.io-client-2", "socket.io-client"])
def test_so_do_the_libraries(guarded: Server, package: str) -> None:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / package).exists():
        pytest.skip("needs Node and tests/clients/environment.sh")
    command = [node, "frames.js", str(guarded.port), package]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=HERE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [*range(1, 9)]
