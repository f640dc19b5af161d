"""The address that leads a phone to the camera page, and its QR code as another library reads it."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from werkzeug.test import EnvironBuilder

from imageserver.app import announcements
from imageserver.config import addresses
from imageserver.pages import qr
from imageserver.web.requests import Request

LAN = "192.168.1.20"


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "lan_address", lambda: LAN)


def server(url: str, listens: str = "0.0.0.0", https_port: int | None = None, **headers: str) -> str:
    scheme, _, host = url.partition("://")
    environ = EnvironBuilder("/", headers=headers).get_environ() | {"wsgi.url_scheme": scheme, "HTTP_HOST": host}
    return qr.server(Request(environ), listens, https_port)


@pytest.mark.parametrize(
    ("url", "listens", "https_port", "address"),
    [
        ("http://cams.example.org:8080", "0.0.0.0", None, "http://cams.example.org:8080/"),
        ("https://cams.example.org", "127.0.0.1", None, "https://cams.example.org/"),
        ("http://localhost:8080", "0.0.0.0", None, f"http://{LAN}:8080/"),
        ("http://127.0.0.1:8080", "::", None, f"http://{LAN}:8080/"),
        ("http://[::1]:8080", "0.0.0.0", None, f"http://{LAN}:8080/"),
        ("http://localhost:8080", "10.0.0.5", None, "http://10.0.0.5:8080/"),
        ("http://localhost:8080", "127.0.0.1", None, "http://localhost:8080/"),
        ("http://192.168.1.20:8080", "0.0.0.0", 8443, "https://192.168.1.20:8443/"),
        ("http://192.168.1.20", "0.0.0.0", 443, "https://192.168.1.20/"),
        ("http://[fe80::1]:8080", "::", 8443, "https://[fe80::1]:8443/"),
    ],
)
def test_the_address_is_one_that_a_phone_can_open(url: str, listens: str, https_port: int | None, address: str) -> None:
    assert server(url, listens, https_port) == address


def test_the_path_of_a_proxy_is_known_from_the_page_that_shows_the_code() -> None:
    url = "http://cams.example.org"
    assert server(url, Referer=f"{url}/imageserver/") == f"{url}/imageserver/"
    assert server(url, Referer=f"{url}/imageserver/camera?a=b") == f"{url}/imageserver/"
    assert server(url, Referer="http://evil.example/x/") == f"{url}/"


def read(modules: np.ndarray) -> str:
    """What a code says: 0 is dark."""
    picture = cv2.resize(modules, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    picture = cv2.copyMakeBorder(picture, 32, 32, 32, 32, cv2.BORDER_CONSTANT, value=255)
    text, _points, _straight = cv2.QRCodeDetector().detectAndDecode(picture)
    return str(text)


def of_lines(lines: list[str]) -> np.ndarray:
    """Modules of lines of a dark terminal, where what is written is light."""
    halves = {" ": (0, 0), "▄": (0, 255), "▀": (255, 0), "█": (255, 255)}
    pairs = np.array([[halves[each] for each in line] for line in lines], np.uint8)
    return pairs.transpose(0, 2, 1).reshape(-1, len(lines[0]))


@pytest.mark.parametrize("address", ["http://192.168.1.20:8080/camera", "https://c.example/" + "x" * 100])
def test_the_lines_of_a_terminal_can_be_read(address: str) -> None:
    assert read(of_lines(list(qr.lines(address)))) == address


def test_a_picture_has_no_style_and_no_script_and_no_code_is_endless() -> None:
    picture = qr.svg("http://192.168.1.20:8080/camera").decode()
    assert picture.startswith("<svg") and "style" not in picture and "script" not in picture
    with pytest.raises(ValueError, match="too many"):
        qr.svg("x" * (qr.LONGEST + 1))


class Terminal(io.StringIO):
    encoding = "utf-8"

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "log_json", "https", "address"),
    [
        (True, False, None, f"http://{LAN}:8080/camera"),
        (True, False, ("0.0.0.0", 8443), f"https://{LAN}:8443/camera"),
        (True, True, None, ""),
        (False, False, None, ""),
    ],
)
def test_the_code_is_shown_at_the_start_where_somebody_sees_it(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, log_json: bool, https: Any, address: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(announcements.sys, "stdout", Terminal(terminal))
    monkeypatch.setattr(announcements.LOG, "info", lambda line, *values: said.append(line % values))
    settings: Any = SimpleNamespace(tls=False, log_json=log_json, results=None)
    doors: Any = SimpleNamespace(
        http=SimpleNamespace(address=("0.0.0.0", 8080)), https=https and SimpleNamespace(address=https)
    )
    announcements._announce_camera_page(settings, doors)
    expected = address or f"http://{LAN}:8080/camera"
    assert said[0] == f"a phone is a camera at {expected}"
    assert (read(of_lines(said[1:])) if said[1:] else "") == address
