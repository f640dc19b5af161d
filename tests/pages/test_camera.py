"""The browser camera, in a browser with a camera that shows a known picture, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from tests.pages.browser import Browser, Page, axe
from tests.pages.watched import AWAY
from tests.passwords import CHEAP
from tests.running import PATIENCE, ROOT, CheapServer, Server, until

from imageserver.accounts.database import UserDB

RIGHT = "document.getElementById('answer').textContent === '90, 100 %'"
SEEN = "(id) => { const found = document.getElementById(id); return found.checkVisibility() ? found.innerText : ''; }"
SOONER = "window.slow{0} = set{0}; window.set{0} = (called, ms) => slow{0}(called, ms === {1} ? 50 : ms);"
"""A timer of so many milliseconds is one of fifty."""
FLICKER = """() => [true, false, true, false].forEach((value) => {
  Object.defineProperty(document, "hidden", { value, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
})"""
"""Out of sight and back, twice, faster than the server answers."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    bounds = ("--max-frame-bytes", "100000", "--look-rate", "0")
    with Server("--session-models", "sleeper", "--server-name", "camera.example", *bounds, data=data) as running:
        yield running.ready()


@pytest.fixture(autouse=True)
def picture(browser: Browser) -> None:
    browser.show(np.full((480, 640, 3), 90, np.uint8))  # whose grey value is what the test model says


def wait(page: Page, state: str) -> None:
    """Wait for a state of the camera."""
    page.until("(state) => document.getElementById('camera').dataset.state === state", PATIENCE, state)


def text(page: Page, name: str) -> Any:
    """What an element says; "" where it is hidden."""
    return page.run(f"({SEEN})('{name}')")


def waits_for(page: Page, name: str, words: str) -> None:
    """Wait until an element says this."""
    page.until(f"(id, words) => ({SEEN})(id).includes(words)", PATIENCE, name, words)


def begun(page: Page, url: str, **choices: str) -> None:
    """Open the page and start the camera; the first answer is there."""
    page.open(url + "/camera")
    for field, value in choices.items():
        page.choose(f"#{field}", value)
    page.click("#start")
    wait(page, "running")
    waits_for(page, "age", "ms")


def stopped(page: Page) -> None:
    page.click("#start")
    wait(page, "ended")
    assert text(page, "status") == "The camera is off"


def streams(server: Server) -> Any:
    return requests.get(server.url + "/streams/", timeout=PATIENCE).json()


def test_the_right_answer_is_over_the_picture(server: Server, page: Page) -> None:
    page.open(server.url + "/camera")
    page.type("#name", "front door")
    page.press("Enter")  # starts it, as the button does
    page.until(RIGHT, 3)
    assert page.run("/^\\d+ ms$/.test(document.getElementById('age').textContent)")
    drawn = """(() => {
      const canvas = document.getElementById('overlay');
      return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((each) => each > 0);
    })()"""
    assert page.run(drawn), "the label lies over the picture"
    page.until("Number(document.querySelector('#counts dd').textContent) >= 10", PATIENCE)
    (row,) = streams(server)
    assert (row["name"], row["protocol"], row["size"]) == ("front door", "camstream", [640, 480])
    assert [each.split("\n")[1] for each in text(page, "counts").split("Replaced")[0].split("\n\n") if "\n" in each]
    stopped(page)
    assert text(page, "age") == ""
    page.open(server.url + "/camera")
    assert page.run("document.getElementById('name').value") == "front door", "what was chosen is kept"


def test_what_is_chosen_is_asked_for(server: Server, page: Page) -> None:
    begun(page, server.url, size="320x240", rate="30", model="echo", device="environment")
    page.until("Number(document.querySelector('#counts dd').textContent) >= 20", PATIENCE)
    (row,) = streams(server)
    assert (row["model"], row["size"]) == ("echo", [320, 240])
    steered = requests.post(f"{server.url}/streams/{row['id']}", json={"model": "slow"}, timeout=PATIENCE)
    assert steered.ok, steered.text
    page.until("Number(document.querySelectorAll('#curves .now')[2].textContent) < 30", PATIENCE)  # as ages grow
    devices = page.run("[...document.getElementById('device').options].map((each) => each.textContent)")
    assert devices[:3] == ["Any camera", "Front camera", "Back camera"] and len(devices) > 3
    stopped(page)


def test_as_fast_as_answers_come(server: Server, page: Page) -> None:
    begun(page, server.url, rate="0", size="160x120")
    page.until("Number(document.querySelector('#counts dd').textContent) >= 20", PATIENCE)
    stopped(page)


def test_a_session_is_shown_with_its_errors(server: Server, browser: Browser, page: Page) -> None:
    browser.show(np.full((480, 640, 3), 251, np.uint8))  # at which the test model fails
    page.open(server.url + "/camera")
    page.choose("#kind", "session")
    assert page.run("document.getElementById('of-pictures').hidden")
    page.click("#start")
    wait(page, "running")
    waits_for(page, "age", "ms")
    waits_for(page, "reasons", "sleeper:")
    assert "Heart rate" in text(page, "values") and "Blinks" in text(page, "values")
    page.hide(True)
    page.run("new Promise((done) => setTimeout(done))")
    until(lambda: not _sessions(server), "the end of the session while nobody looks")
    page.hide(False)
    wait(page, "running")
    until(lambda: _sessions(server), "another session")
    page.run(f"({FLICKER})()")
    wait(page, "running")
    page.run("new Promise((done) => setTimeout(done, 100))")
    wait(page, "running")
    stopped(page)


def _sessions(server: Server) -> Any:
    return [row for row in streams(server) if row["protocol"] == "sessions"]


def test_it_pauses_while_nobody_looks(server: Server, page: Page) -> None:
    begun(page, server.url)
    page.hide(True)
    assert page.run("document.getElementById('camera').dataset.state") == "paused"
    page.run("document.getElementById('preview').srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    page.hide(False)
    wait(page, "running")
    page.until(RIGHT, PATIENCE)
    stopped(page)


def test_it_goes_on_after_a_restart_and_on_another_network(page: Page, tmp_path: Path) -> None:
    page.watched.expect(*AWAY)
    with Server(data=tmp_path) as first:
        begun(page, first.ready().url)
        port = first.port
    waits_for(page, "status", "trying again")
    with Server("-p", str(port), data=tmp_path) as again:
        again.ready()
        wait(page, "running")
        waits_for(page, "age", "ms")
        (before,) = streams(again)
        page.run("window.dispatchEvent(new Event('online'))")
        until(lambda: streams(again) and streams(again)[0]["id"] != before["id"], "another connection")
        wait(page, "running")
        page.run("""(() => {
          Object.defineProperty(navigator.connection, 'type', { value: 'cellular', configurable: true });
          navigator.connection.dispatchEvent(new Event('change'));
        })()""")
        wait(page, "running")
        stopped(page)


def test_a_frame_that_is_refused_is_told(server: Server, browser: Browser, page: Page) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (960, 1280, 3), np.uint8)
    browser.show(noise)
    page.open(server.url + "/camera")
    page.choose("#size", "1280x960")
    page.run(SOONER.format("Timeout", 8000))
    page.click("#start")
    page.until("!document.getElementById('note').hidden", PATIENCE)
    assert "100000" in page.run("document.getElementById('note').textContent")
    page.until("Number(document.querySelectorAll('#counts dd')[3].textContent) > 0", PATIENCE)
    page.run("document.getElementById('start').click()")  # it moves with the note, which comes and goes
    wait(page, "ended")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }",
            "Allow it",
        ),
        (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }",
            "no camera",
        ),
    ],
)
def test_a_camera_that_cannot_be_had_is_told(server: Server, page: Page, how: str, sentence: str) -> None:
    page.open(server.url + "/camera")
    page.run(how + "; true")
    page.click("#start")
    page.until("!document.getElementById('error').hidden", PATIENCE)
    assert sentence in text(page, "error")
    assert text(page, "start") == "Start"


def test_a_camera_that_is_taken_away_is_told(server: Server, page: Page) -> None:
    begun(page, server.url)
    page.run("document.getElementById('preview').srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    wait(page, "ended")
    assert "was taken away" in text(page, "error")


def test_stop_while_the_camera_opens(server: Server, page: Page) -> None:
    page.open(server.url + "/camera")
    page.run("""(() => {
      const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (asked) => {
        const stream = await open(asked);
        document.getElementById('start').click();
        return (window.given = stream);
      };
    })()""")
    page.click("#start")
    page.until("window.given && given.getTracks().every((each) => each.readyState === 'ended')", PATIENCE)
    assert page.run("document.getElementById('camera').dataset.state") == "ended"


def test_over_plain_http_it_says_why_there_is_no_camera(server: Server, page: Page) -> None:
    page.open(f"http://camera.example:{server.port}/camera")
    assert "over plain HTTP" in text(page, "insecure") and "-s" in text(page, "insecure")
    assert page.run("document.getElementById('start').disabled")


def test_what_the_operator_disconnects_stays_away(server: Server, page: Page) -> None:
    begun(page, server.url)
    (row,) = streams(server)
    requests.delete(f"{server.url}/streams/{row['id']}", timeout=PATIENCE).raise_for_status()
    wait(page, "ended")
    assert "disconnected this camera" in text(page, "error")
    assert text(page, "login") == ""


def test_a_model_that_is_gone_is_told(server: Server, page: Page) -> None:
    page.open(server.url + "/camera")
    page.run("document.getElementById('model').append(new Option('Gone', 'gone', true, true))")
    page.click("#start")
    wait(page, "ended")
    assert "gone" in text(page, "error")


def test_a_login_lasts_over_a_restart_and_its_end_is_told(page: Page, tmp_path: Path) -> None:
    users = UserDB(tmp_path / "users.db", CHEAP)
    users.add("alice", "secret", roles=["camera"])
    page.watched.expect(*AWAY)
    with CheapServer("-a", data=tmp_path) as server:
        server.ready()
        page.open(server.url + "/camera")
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=SOONER.format("Interval", 45000))
        page.type("#user", "alice")
        page.type("#password", "secret")
        page.press("Enter")
        page.until("document.getElementById('start')?.disabled === false", PATIENCE)
        page.click("#start")
        page.until(RIGHT, PATIENCE)
        asked = "performance.getEntriesByName(new URL('camera', location).href, 'resource').length"
        page.until(asked, PATIENCE)  # so that the login does not end meanwhile for want of requests
    waits_for(page, "status", "trying again")
    with CheapServer("-a", "-p", str(server.port), data=tmp_path):
        wait(page, "running")
        users.remove("alice")
        wait(page, "ended")
    assert text(page, "error") == "This login of a page has ended; log in again."
    assert page.run("document.getElementById('login').getAttribute('href')") == "login?next=camera"
    assert text(page, "login") == "Log in again"


@pytest.mark.parametrize("running", [False, True])
def test_it_is_seen_by_everybody(server: Server, page: Page, running: bool) -> None:
    if running:
        begun(page, server.url)
    else:
        page.open(server.url + "/camera")
    for dark in (False, True):
        for width, height in ((1280, 800), (390, 844), (844, 390)):
            page.run("window.scrollTo(0, 0)")
            page.screenshot(
                f"camera/{'running' if running else 'ready'}-{width}{'-dark' if dark else ''}", width, height, dark=dark
            )
            wide = page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"at {width} pixels it is {wide} too wide"
        assert axe(page) == []
    if running:
        stopped(page)


@pytest.mark.long
def test_a_digit_is_read_within_three_seconds(browser: Browser, page: Page, tmp_path: Path) -> None:
    digit = cv2.imread(str(ROOT / "clients/samples/digits/7.png"))
    browser.show(cv2.copyMakeBorder(cv2.resize(digit, (400, 400)), 40, 40, 120, 120, cv2.BORDER_REPLICATE))
    with Server(data=tmp_path, models=None, model="lenet") as server:
        server.ready()
        page.open(server.url + "/camera")
        page.click("#start")
        page.until("document.getElementById('answer').textContent.startsWith('7, ')", 3)
        stopped(page)


@pytest.mark.long
def test_a_face_has_its_session(browser: Browser, page: Page, tmp_path: Path) -> None:
    """A photograph has no pulse and never blinks: what is seen of it is said, and nothing more."""
    face = cv2.imread(str(ROOT / "clients/samples/photos/astronaut.jpg"))
    browser.show(cv2.resize(face, (480, 480)))
    with Server("--session-models", "pulse,blink", data=tmp_path, models=None, model="lenet") as server:
        server.ready()
        begun(page, server.url, kind="session", rate="15")
        waits_for(page, "reasons", "pulse")  # why there is no heart rate
        page.until("document.querySelectorAll('#values .now')[1].textContent === '0.0'", PATIENCE)
        page.screenshot("camera/session", 390, 844)
        assert page.run("document.querySelectorAll('#values .now')[0].textContent") == "–"
        stopped(page)
