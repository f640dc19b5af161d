"""One engine, many doors: the same picture gets the same score through each of them."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import requests
from tests.running import PATIENCE, Camera, Server

MODELS = ("xray-densenet", "xray-ensemble")
CODES = {"xray-densenet": b"DENS", "xray-ensemble": b"ENSE"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--user", "me:secret", "--tcp-port", "0", "--preload", ",".join(MODELS[1:]))
    with Server(*options, data=tmp_path_factory.mktemp("data"), models=None, model=MODELS[0]) as running:
        running.ready()
        running.wait_for("models ready: xray-densenet, xray-ensemble")
        yield running


def pictures() -> list[bytes]:
    """Chest-like greys in several sizes and formats; what they show does not matter, only that all doors agree."""
    random = np.random.default_rng(3)
    found = []
    for width, height, suffix in ((28, 28, ".png"), (640, 480, ".jpg"), (300, 500, ".png"), (1200, 1000, ".jpg")):
        noise = cv2.resize(random.integers(0, 256, (7, 7), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        found.append(cv2.imencode(suffix, noise)[1].tobytes())
    return found


def by_tcp(port: int, code: bytes, picture: bytes) -> bytes:
    """The letter of the legacy protocol."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock, sock.makefile("rwb") as stream:
        assert stream.read(1) == b"?"
        for message in (b"FILE", str(len(picture)).encode().ljust(10, b"z")):
            stream.write(message)
            stream.flush()
            assert stream.read(1) == b"0"
        for message in (picture + b"MODE", code, b"PRED"):
            stream.write(message)
            stream.flush()
            assert stream.read(1) == b"0"
        return stream.read(1)


@pytest.mark.parametrize("model", MODELS)
def test_every_door_gives_the_same_score(server: Server, model: str) -> None:
    auth = ("me", "secret")
    found = server.wait_for(r"legacy TCP listening on .*:(\d+)$")
    with Camera(server) as camera:
        assert camera.configure(model=model)["success"]
        for picture in pictures():
            streamed = camera.ask(picture)
            scores = {entry["label"]: entry["score"] for entry in streamed["labels"]}
            pneumonia = pytest.approx(scores["pneumonia"], abs=2e-6)

            body = {"image": base64.b64encode(picture).decode()}
            by_rest = requests.post(f"{server.url}/{model}/classify", json=body, auth=auth, timeout=PATIENCE).json()
            as_image = {"Content-Type": "image/png"}
            raw = requests.post(
                f"{server.url}/{model}/classify", data=picture, headers=as_image, auth=auth, timeout=PATIENCE
            ).json()
            put = requests.put(f"{server.url}/snippets/1/", data=picture, params={"model": model}, timeout=PATIENCE)
            by_snap = put.json()["prediction"]

            assert by_rest["score"] == raw["score"] == pneumonia
            assert by_rest["label"] == streamed["label"] == by_snap["label"]
            assert {entry["label"]: entry["score"] for entry in by_snap["labels"]}["pneumonia"] == pneumonia
            letter = b"P" if streamed["label"] == "pneumonia" else b"N"
            assert by_tcp(int(found[1]), CODES[model], picture) == letter
