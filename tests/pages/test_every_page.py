"""What holds for every page in a browser: looks, faults for those who need more than a mouse, proxies, restarts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.nginx import NGINX, command, free_ports
from tests.pages.browser import Browser, Page, axe
from tests.pages.watched import AWAY
from tests.running import PATIENCE, ROOT, Camera, CheapServer, Server, picture, until

PAGES = ("", "camera", "docs", "login")
FIRST_PAINT = 100_000
"""Bytes over the wire until a page stands."""
LOOKS = {"desktop": (1280, 800), "phone": (390, 844)}
ALICE = ("alice", "a secret")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a login, and behind any proxy of this machine."""
    options = ("-a", "--user", ":".join(ALICE), "--trusted-proxy", "127.0.0.1")
    with CheapServer(*options, data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def camera(server: Server) -> Iterator[Camera]:
    """So that there is something to see."""
    with Camera(server) as streaming:
        assert streaming.login(*ALICE)
        streaming.ask(picture(90, 640, 480))
        yield streaming


def log_in(page: Page) -> None:
    page.type("#user", ALICE[0])
    page.type("#password", ALICE[1])
    page.press("Enter")
    page.until("document.querySelector('.who') !== null && document.readyState === 'complete'", PATIENCE)


@pytest.mark.parametrize("path", PAGES)
def test_looks(page: Page, server: Server, camera: Camera, path: str) -> None:
    page.open(f"{server.url}/login?next={path}")
    before = dict(page.watched.bytes) if path != "login" else {}
    if path != "login":
        log_in(page)
    first = {url: size for url, size in page.watched.bytes.items() if "/shared/" in url or url not in before}
    assert sum(first.values()) <= FIRST_PAINT, first
    if path == "":
        page.until("document.querySelector('#tiles li canvas') !== null", PATIENCE)
    for look, (width, height) in LOOKS.items():
        for dark in (False, True):
            page.screenshot(f"{path or 'live'}-{look}{'-dark' if dark else ''}", width, height, dark=dark)
            if dark == (look == "phone"):  # each of both, and each colour, once
                assert axe(page) == [], (look, dark)
        assert page.run("document.scrollingElement.scrollWidth <= innerWidth"), f"it is wider than a {look}"


@pytest.fixture
def nginx(server: Server, tmp_path: Path) -> Iterator[str]:
    """nginx with the file of this project, the server below a path; its address there."""
    if NGINX is None:
        pytest.skip("needs nginx (scripts/apt-packages.sh)")
    (port,) = free_ports(1)
    text = (ROOT / "deploy/nginx.conf").read_text()
    lines = [each for each in text.splitlines() if "[::]" not in each and " 443 " not in each and "ssl_" not in each]
    text = "\n".join(lines).replace("listen 80 ", f"listen 127.0.0.1:{port} ")
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}").replace(
        "location / {", "location /imageserver/ {"
    )
    (tmp_path / "imageserver.conf").write_text(
        text.replace("proxy_pass http://imageserver;", "proxy_pass http://imageserver/;")
    )
    process = subprocess.Popen(command(tmp_path, level="warn", connections=256))
    address = f"http://127.0.0.1:{port}/imageserver/"
    try:
        until(lambda: _answers(address), "nginx")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}health/live", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def test_all_works_below_a_path(nginx: str, page: Page, server: Server, camera: Camera) -> None:
    page.open(nginx)
    assert page.run("location.pathname + location.search") == "/imageserver/login?next="
    log_in(page)
    assert page.run("location.pathname") == "/imageserver/"
    page.until("document.querySelector('#tiles li canvas') !== null", PATIENCE)
    assert page.run("document.querySelector('.camera-page').textContent") == f"{nginx}camera"
    page.click(".bar nav a[href=docs]")
    page.until("location.pathname === '/imageserver/docs' && document.querySelector('#find:not([hidden])')", PATIENCE)
    page.click("#post_name_classify summary")
    page.click("#post_name_classify button.main")
    page.until("document.querySelector('#post_name_classify .status').textContent.startsWith('200 OK ·')", PATIENCE)
    line = page.run("document.querySelector('#post_name_classify .curl').textContent")
    assert line == f"curl -u alice --data-binary @face.jpg {nginx}echo/classify"
    page.click(".bar nav a[href=camera]")
    page.until("location.pathname === '/imageserver/camera' && document.readyState === 'complete'", PATIENCE)
    page.click(".who button")
    page.until("location.pathname === '/imageserver/login' && document.readyState === 'complete'", PATIENCE)
    outside = [url for url in page.watched.bytes if not url.startswith((nginx, "data:", "blob:"))]
    assert not outside, "the server has nothing above its path"


def test_a_restart_needs_no_reload(browser: Browser, tmp_path: Path) -> None:
    with browser.page() as live, browser.page() as docs:
        docs.watched.expect(*AWAY)
        live.watched.expect(*AWAY)
        with Server(data=tmp_path) as server:
            docs.open(f"{server.url}/docs#get_list_nn")
            docs.until("document.querySelector('#get_list_nn form') !== null", PATIENCE)
            live.open(server.url)
            live.until("document.getElementById('link').textContent === 'connected'", PATIENCE)
        live.until("document.getElementById('link').textContent === 'not connected'", PATIENCE)
        docs.click("#get_list_nn button.main")
        docs.until("document.querySelector('.status').textContent.startsWith('The server does not answer')", PATIENCE)
        for page in (live, docs):
            page.run("window.kept = true")
        with Server("-p", str(server.port), data=tmp_path) as server, Camera(server.ready()) as streaming:
            streaming.ask(picture(90))
            docs.click("#get_list_nn button.main")
            docs.until("document.querySelector('.status').textContent.startsWith('200 OK ·')", PATIENCE)
            live.until("document.querySelector('#tiles li canvas') !== null", PATIENCE)
            assert live.run("window.kept") and docs.run("window.kept")
            assert live.run("document.getElementById('link').textContent") == "connected"
