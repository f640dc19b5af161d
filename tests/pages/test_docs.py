"""The API page in a browser: what can be tried on it, and what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pages.browser import Browser, Page, axe
from tests.running import PATIENCE, ROOT, TEST_MODELS, Camera, CheapServer, Server, picture, until

PUT = "#put_snippets_identity"
CLASSIFY = "#post_name_classify"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for source in (TEST_MODELS / "echo", ROOT / "models" / "faces", ROOT / "models" / "lenet"):
        (folder / source.name).symlink_to(source)
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--server-name", "nas.example")
    with Server(*options, data=tmp_path_factory.mktemp("data"), models=models, model="faces") as running:
        yield running.ready()


def opened(page: Page, server: Server, operation: str) -> None:
    """Open the page with the form of an operation."""
    page.open(f"{server.url}/docs{operation}")
    page.until("operation => document.querySelector(operation + ' form') !== null", PATIENCE, operation)


def answered(page: Page, operation: str, pattern: str = "^200 OK ·") -> str:
    """Send, wait for an answer whose first line matches, and return all of it."""
    page.click(f"{operation} button.main")
    said = "(selector, pattern) => new RegExp(pattern).test(document.querySelector(selector).textContent)"
    page.until(said, PATIENCE, f"{operation} .status", pattern)
    found: str = page.run("selector => document.querySelector(selector).innerText", f"{operation} .answer")
    return found


def line(page: Page, operation: str) -> str:
    found: str = page.run("selector => document.querySelector(selector).textContent", f"{operation} .curl")
    return found


def field(page: Page, operation: str, name: str) -> str:
    """A selector of the field of a parameter."""
    script = """(operation, name) => [...document.querySelectorAll(operation + " label")]
        .find(each => each.textContent.startsWith(name + " (")).htmlFor"""
    return f"#{page.run(script, operation, name)}"


DRAWN = """selector => {
  const canvas = document.querySelector(selector);
  if (!canvas.width) return 0;
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, index) => index % 4 === 3 && value > 200).length;
}"""
"""How many pixels of an overlay something is drawn on."""


def test_a_sample_is_sent_and_what_was_found_is_drawn_over_it(page: Page, server: Server) -> None:
    opened(page, server, CLASSIFY)
    first = sum(page.watched.bytes.values())
    assert line(page, CLASSIFY) == f"curl --data-binary @face.jpg {server.url}/faces/classify"
    found = answered(page, CLASSIFY)
    assert re.match(r"200 OK · \d+ ms · \d+ bytes · application/json\n", found)
    assert '"label": "face",\n' in found and '"boxes": [\n' in found
    page.until(f"selector => ({DRAWN})(selector) > 300", PATIENCE, f"{CLASSIFY} .overlay")
    assert first < 200_000, "description and samples are loaded for who tries something"
    for look, (width, height) in {"desktop": (1280, 1100), "phone": (390, 1500)}.items():
        page.screenshot(f"docs-tried-{look}", width, height)
        assert axe(page) == []
    page.look()
    page.choose(field(page, CLASSIFY, "name"), "echo")
    page.click(f"{CLASSIFY} .choices button:nth-of-type(2)")
    assert line(page, CLASSIFY) == f"curl --data-binary @digit.png {server.url}/echo/classify"
    assert '"label": "2' in answered(page, CLASSIFY)


def test_a_picture_of_ones_own_or_of_the_camera(browser: Browser, page: Page, server: Server, tmp_path: Path) -> None:
    opened(page, server, CLASSIFY)
    page.choose(field(page, CLASSIFY, "name"), "echo")
    own = tmp_path / "Bob's cat.png"
    own.write_bytes(picture(60, suffix=".png"))
    page.upload(f"{CLASSIFY} input[type=file]", own)
    assert line(page, CLASSIFY) == f"curl --data-binary '@Bob'\\''s cat.png' {server.url}/echo/classify"
    assert '"label": "60"' in answered(page, CLASSIFY)
    own = tmp_path / "own.tiff"
    own.write_bytes(picture(61, suffix=".tiff"))
    page.upload(f"{CLASSIFY} input[type=file]", own)
    assert '"label": "61"' in answered(page, CLASSIFY)
    page.until("document.querySelector('.found').hidden", PATIENCE)  # browsers show no TIFF
    browser.show(np.full((240, 320, 3), 200, np.uint8))
    camera = f"{CLASSIFY} .choices button:last-of-type"
    page.click(camera)
    page.until("selector => document.querySelector(selector).textContent === 'Take the picture'", PATIENCE, camera)
    page.click(camera)
    page.until("selector => document.querySelector(selector).textContent.includes('@camera.jpg')", 20, ".line pre")
    label = re.search(r'"label": "(\d+)"', answered(page, CLASSIFY))
    assert label and 190 < int(label[1]) < 210


def test_why_there_is_no_picture_of_the_camera(page: Page, server: Server) -> None:
    opened(page, server, CLASSIFY)
    page.run("navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('nobody allowed it')), 0")
    page.click(f"{CLASSIFY} .choices button:last-of-type")
    page.until("document.querySelector('.preview-box').innerText.includes('nobody allowed it')", PATIENCE)
    page.open(f"http://nas.example:{server.port}/docs{CLASSIFY}")
    page.until("document.querySelector('.choices')?.innerText.includes('over HTTPS alone')", PATIENCE)
    page.run("document.execCommand = name => { document.title = name; }, 0")
    page.click(f"{CLASSIFY} .copy")
    page.until("document.title === 'copy'", PATIENCE)


def test_a_body_of_json_with_a_picture_in_it(page: Page, server: Server) -> None:
    infer = "#post_v2_models_name_infer"
    opened(page, server, infer)
    page.choose(field(page, infer, "name"), "echo")
    assert "$PICTURE" in page.run("document.querySelector('textarea').value")
    assert line(page, infer) == (
        f"curl -H 'Content-Type: application/json' --data @request.json {server.url}/v2/models/echo/infer"
    )
    assert '"model_name": "echo"' in answered(page, infer)
    page.type("textarea", "{}")
    page.watched.expect("400")
    assert "--data '{}'" in line(page, infer)
    assert '"error":' in answered(page, infer, "^400 BAD REQUEST ·")


def test_parameters_and_pictures_that_come_back(page: Page, server: Server) -> None:
    opened(page, server, PUT)
    page.type(field(page, PUT, "identity"), "17")
    page.type(field(page, PUT, "name"), "front door & co")
    page.type(field(page, PUT, "model"), "echo")
    address = f"'{server.url}/snippets/17/?model=echo&name=front+door+%26+co'"
    assert line(page, PUT) == f"curl -X PUT --data-binary @face.jpg {address}"
    assert '"camera": "front door & co"' in answered(page, PUT)
    assert page.run(DRAWN, f"{PUT} .overlay") > 100, "its prediction is one level down"
    image = "#get_snippets_identity_image"
    opened(page, server, image)
    page.type(field(page, image, "identity"), "17")
    assert "image/jpeg" in answered(page, image)
    page.until("selector => document.querySelector(selector).naturalWidth === 320", PATIENCE, f"{image} .found img")
    page.type(field(page, image, "identity"), "18")
    page.watched.expect("404")
    assert "there is no picture 18" in answered(page, image, "^404 NOT FOUND ·")
    assert page.run("selector => document.querySelector(selector).hidden", f"{image} .found")


def test_what_comes_for_ever_ends_by_stop(page: Page, server: Server) -> None:
    with Camera(server) as camera:
        camera.configure(model="echo")
        camera.ask(picture(99))
        events, film = "#get_streams_events", "#get_streams_stream_mjpeg"
        opened(page, server, events)
        page.click(f"{events} button.main")
        until(lambda: camera.ask(picture(98)) and page.run("document.querySelector('.answer pre').innerText"), "events")
        page.click(f"{events} .buttons button:last-child")
        page.until("document.querySelector('.status').textContent === 'Stopped.'", PATIENCE)
        opened(page, server, film)
        page.type(field(page, film, "stream"), camera.client.get_sid())
        page.type(field(page, film, "fps"), "2.5")
        assert "until Stop" in answered(page, film)
        shown = "selector => document.querySelector(selector).naturalWidth === 64"
        until(lambda: camera.ask(picture(97)) and page.run(shown, f"{film} .found img"), "a picture of the film")
        page.click(f"{film} .buttons button:last-child")
        page.until("selector => document.querySelector(selector).hidden", PATIENCE, f"{film} .found")


def test_an_operation_is_found_by_a_word_by_its_address_and_by_keyboard(page: Page, server: Server) -> None:
    page.open(f"{server.url}/docs")
    page.type("#filter", "LIST nn")
    shown = "[...document.querySelectorAll('details.operation')].filter(each => each.checkVisibility())"
    assert page.run(f"{shown}.map(each => each.dataset.path)") == ["/list_nn"]
    assert page.run("document.getElementById('found').textContent").startswith("1 of ")
    page.press("Enter")
    page.press("Tab")
    page.press("Enter")
    page.until("document.querySelector('#get_list_nn form') !== null", PATIENCE)
    for _ in range(3):
        page.press("Tab")
    page.press("Enter")
    page.until("document.querySelector('#get_list_nn .answer').innerText.includes('url:/echo')", PATIENCE)
    page.click("#get_list_nn .copy")
    page.until("document.querySelector('#get_list_nn .copy').textContent === 'Copied'", PATIENCE)
    page.until("document.querySelector('#get_list_nn .copy').textContent === 'Copy'", PATIENCE)
    page.run("location.hash = 'get_health_live'")
    page.until("document.querySelector('#get_health_live form') !== null", PATIENCE)
    assert page.run("document.getElementById('get_health_live').open")


def test_without_its_description_it_says_so_and_goes_on_later(page: Page, server: Server) -> None:
    page.watched.expect("ERR_INTERNET_DISCONNECTED")
    page.open(f"{server.url}/docs")
    page.offline(True)
    page.click("#get_list_nn summary")
    page.until("document.getElementById('failed').innerText.startsWith('Nothing can be tried yet')", PATIENCE)
    page.offline(False)
    page.click("#get_list_nn summary")
    page.click("#get_list_nn summary")
    page.until("document.querySelector('#get_list_nn form') && document.getElementById('failed').hidden", PATIENCE)
    page.offline(True)
    answered(page, "#get_list_nn", "The server does not answer")
    page.offline(False)
    answered(page, "#get_list_nn")


def test_who_has_logged_in_asks_by_the_cookie(browser: Browser, tmp_path: Path) -> None:
    data: Any = tmp_path
    with CheapServer("-a", "--user", "alice:secret", data=data) as server, browser.page() as page:
        page.open(f"{server.url}/docs")
        assert page.run("location.pathname + location.search") == "/login?next=docs"
        page.type("#user", "alice")
        page.type("#password", "secret")
        page.press("Enter")
        page.until("location.pathname === '/docs' && document.getElementById('find')?.hidden === false", PATIENCE)
        page.click("#get_streams summary")  # once the script has run, which moves it
        page.until("document.querySelector('#get_streams form') !== null", PATIENCE)
        assert line(page, "#get_streams") == f"curl -u alice {server.url}/streams/"
        answered(page, "#get_streams")
