"""deploy/nginx.conf in nginx itself, before a real server: cameras of both generations, REST, Snap, and who asks."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
import websocket
from tests.nginx import NGINX, command, free_ports
from tests.running import PATIENCE, ROOT, Server, picture, until

from imageserver.app import certificates

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx (scripts/apt-packages.sh)")
AUTH = ("alice", "secret")


class Nginx:
    """nginx with the file of this project, its own folder, and ports of its own."""

    def __init__(self, folder: Path, server: Server, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.port, self.tls_port = free_ports(2)
        text = (ROOT / "deploy/nginx.conf").read_text()
        replacements = [
            (r"listen \[::\].*\n", ""),
            (r"listen 80 ", f"listen 127.0.0.1:{self.port} "),
            (r"listen 443 ", f"listen 127.0.0.1:{self.tls_port} "),
            (r"/etc/ssl/certs/imageserver.pem", str(certificate)),
            (r"/etc/ssl/private/imageserver.key", str(key)),
            (r"127\.0\.0\.1:8080", f"127.0.0.1:{server.port}"),
        ]
        for pattern, replacement in replacements:
            text, count = re.subn(pattern, replacement, text)
            assert count, pattern
        (folder / "imageserver.conf").write_text(text)
        # Standard error goes to a file: a pipe that nobody reads could fill up.
        self._said = folder / "stderr.txt"
        with self._said.open("w") as said:
            self.process = subprocess.Popen(command(folder, level="warn", connections=256), stderr=said)

    @property
    def said(self) -> str:
        return self._said.read_text()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return requests.get(self.url("http") + "/health/live", timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False

    def url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self.tls_port if scheme in ('https', 'wss') else self.port}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    behind = ("--trusted-proxy", "127.0.0.1", "--server-name", "cameras.example.org")
    with Server("-a", "--user", ":".join(AUTH), *behind, data=data) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def nginx(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = certificates.self_signed(folder / "tls", lambda _line: None, ["localhost", "127.0.0.1"])
    for _attempt in range(3):
        started = Nginx(folder, server, certificate, key)
        try:
            until(started.answers, "nginx")
            break
        except AssertionError:
            started.stop()
            if "in use" not in started.said:
                raise
    yield started
    started.stop()


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small picture, a camera app's largest, and no picture."""
    folder = tmp_path_factory.mktemp("frames")
    noise = np.random.default_rng(1).integers(0, 256, (960, 1280, 3), np.uint8)
    large = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    assert len(large) > 1_500_000
    paths = [folder / name for name in ("small.jpg", "large.jpg", "broken.jpg")]
    for path, data in zip(paths, (picture(77), large, b"no picture"), strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize(
    ("scheme", "transports"), [("http", "polling,websocket"), ("https", "polling"), ("https", "websocket")]
)
@pytest.mark.parametrize("environment", ["clients-python4", "clients-python5"])
def test_cameras_of_both_generations(
    nginx: Nginx, frames: list[Path], environment: str, scheme: str, transports: str
) -> None:
    python = ROOT / "build" / environment / "bin" / "python"
    if not python.exists():
        pytest.skip("needs tests/clients/environment.sh")
    command = [python, Path(__file__).with_name("proxied.py"), nginx.url(scheme), transports, *frames]
    bundle = {name: str(nginx.certificate) for name in ("REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=100, env={**os.environ, **bundle}, check=False
    )
    assert done.returncode == 0, done.stderr + nginx.said
    found = json.loads(done.stdout)
    assert (found["login"], found["labels"][:1], found["transport"]) == (
        [True],
        ["77"],
        transports.rsplit(",", maxsplit=1)[-1],
    )
    assert 120 < int(found["labels"][1]) < 135
    assert "picture" in found["labels"][2]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_rest_and_pictures(nginx: Nginx, scheme: str) -> None:
    with requests.Session() as session:
        session.trust_env = False  # the environment may name other authorities
        session.verify, session.auth = str(nginx.certificate), AUTH
        url = nginx.url(scheme)
        assert "Echo url:/echo" in session.get(url + "/list_nn", timeout=PATIENCE).json()["text"]
        image = {"image": b64encode(picture(50, 640, 480, ".png")).decode()}
        assert session.post(url + "/echo/classify", json=image, timeout=PATIENCE).json()["label"] == "50"
        json_type = {"Content-Type": "application/json"}
        too_much = session.post(url + "/echo/classify", data=bytes(20 * 2**20), headers=json_type, timeout=PATIENCE)
        assert (too_much.status_code, list(too_much.json())) == (413, ["error"]), "the server's own answer"
        put = session.put(url + "/snippets/1/", picture(60), timeout=PATIENCE)
        assert (put.status_code, put.json()["prediction"]["label"]) == (200, "60")
        assert session.get(url + "/snippets/1/image", timeout=PATIENCE).content == picture(60)
        wrong = session.get(url + "/list_nn", auth=("alice", "wrong"), timeout=PATIENCE)
        assert (wrong.status_code, "WWW-Authenticate" in wrong.headers) == (401, True)


def test_the_relay(nginx: Nginx, server: Server) -> None:
    login = "Authorization: Basic " + b64encode(":".join(AUTH).encode()).decode()
    context = {"ca_certs": str(nginx.certificate)}
    one = websocket.create_connection(nginx.url("wss") + "/ws", timeout=PATIENCE, header=[login], sslopt=context)
    two = websocket.create_connection(nginx.url("ws") + "/ws", timeout=PATIENCE, header=[login])
    three = websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws", timeout=PATIENCE, header=[login])
    try:
        one.send("snap")
        assert [two.recv(), three.recv()] == ["snap", "snap"]
        text = "é" * 30_000
        three.send(text)
        assert [one.recv(), two.recv()] == [text, text]
        put = requests.put(nginx.url("http") + "/snippets/9/", picture(9), auth=AUTH, timeout=PATIENCE)
        assert put.ok
        assert json.loads(one.recv())["snippet"] == 9
    finally:
        for each in (one, two, three):
            each.close()


def test_a_web_page_of_the_same_origin_is_let_in(nginx: Nginx) -> None:
    """What a browser sends beside TLS: the server has to know by which name and scheme it is reached."""
    for scheme, status in (("https", 200), ("http", 403)):
        origin = nginx.url("https")
        answer = requests.get(
            nginx.url(scheme) + "/socket.io/?EIO=4&transport=polling",
            headers={"Origin": origin},
            verify=str(nginx.certificate),
            timeout=PATIENCE,
        )
        assert answer.status_code == status, answer.text


def test_browsers_ask_for_the_name_that_the_proxy_has(nginx: Nginx) -> None:
    for name, status in (("cameras.example.org", 200), ("evil.example", 403)):
        headers = {"Host": name, "User-Agent": "Mozilla/5.0", "X-Forwarded-Host": "cameras.example.org"}
        page = {"Origin": f"http://{name}"}
        for path in ("/health/live", "/socket.io/?EIO=4&transport=polling"):
            found = requests.get(nginx.url("http") + path, headers=headers | page, timeout=PATIENCE)
            assert found.status_code == status, found.text
    program = requests.get(nginx.url("http") + "/health/live", headers={"Host": "any.example"}, timeout=PATIENCE)
    assert program.status_code == 200


def test_the_log_names_who_is_behind_nginx_and_not_who_they_claim_to_be(nginx: Nginx, server: Server) -> None:
    for scheme, connection in (
        (
            "plain",
            http.client.HTTPConnection("127.0.0.1", nginx.port, source_address=("127.0.0.2", 0), timeout=PATIENCE),
        ),
        (
            "tls",
            http.client.HTTPSConnection(
                "127.0.0.1",
                nginx.tls_port,
                source_address=("127.0.0.3", 0),
                timeout=PATIENCE,
                context=ssl.create_default_context(cafile=str(nginx.certificate)),
            ),
        ),
    ):
        credentials = b64encode(f"mallory-{scheme}:guess".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}
        connection.request("GET", "/list_nn", headers=headers)
        with connection.getresponse() as answer:
            assert answer.status == 401
        connection.close()
    server.wait_for(r"login of 'mallory-plain' from 127\.0\.0\.2 refused")
    server.wait_for(r"login of 'mallory-tls' from 127\.0\.0\.3 refused")
    assert "9.9.9.9" not in server.text


def test_nginx_turns_away_what_is_above_every_limit(nginx: Nginx) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=PATIENCE)
    connection.putrequest("PUT", "/snippets/1/")
    connection.putheader("Content-Length", str(66 * 2**20))
    connection.endheaders()
    with connection.getresponse() as answer:
        assert answer.status == 413
    connection.close()


def test_nginx_says_nothing_against_the_file(nginx: Nginx) -> None:
    lines = [line for line in nginx.said.splitlines() if "[warn]" in line or "[emerg]" in line]
    assert lines == []
