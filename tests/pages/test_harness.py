"""The tests' own browser: that it does what it is told, and notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.pages import covered
from tests.pages.browser import AXE, Browser, Page, axe
from tests.pages.serving import served
from tests.running import PATIENCE, until

HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>a page</title>
<link rel="icon" href="data:,"><style>:root { color-scheme: light dark; }</style>
<h1>Try</h1><label>Name <input id="name"></label> <input type="file" id="file" aria-label="file">
<button id="press">Press</button><div style="height: 3000px"></div><button id="far">Far</button>
<p id="said"></p><script type="module" src="pages/some.js"></script></html>"""

SCRIPT = """
const said = document.getElementById("said");
function pressed() { said.textContent += "pressed "; }
function never() { return () => 1; }
document.getElementById("press").addEventListener("click", pressed);
document.getElementById("far").addEventListener("click", () => { said.textContent += "far "; });
document.getElementById("far").addEventListener("touchstart", () => { said.textContent += "touched "; });
document.getElementById("file").addEventListener("change", event => {
  said.textContent += event.target.files[0].name;
});
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(HTML)
    (folder / "pages").mkdir()
    (folder / "pages" / "some.js").write_text(SCRIPT)

    with served(folder) as url:
        yield url


def test_a_page_is_used_as_by_hand(page: Page, site: str, tmp_path: Path) -> None:
    page.open(site)
    page.click("#press")
    page.type("#name", "first")
    page.type("#name", "front door")
    assert page.run("document.getElementById('name').value") == "front door"
    page.click("#far")
    page.press("Enter")
    (tmp_path / "a.png").write_bytes(b"")
    page.upload("#file", tmp_path / "a.png")
    page.until("document.getElementById('said').textContent == 'pressed far far a.png'", 5)
    assert page.run("async (one, two) => one + await two", 1, 2) == 3
    with pytest.raises(AssertionError, match="is not defined"):
        page.run("nothing.there")
    assert page.watched.bytes[f"{site}/pages/some.js"] > len(SCRIPT)


def test_a_phone_in_the_dark(page: Page, site: str) -> None:
    page.open(site)
    path = page.screenshot("harness/phone-dark", 390, 700, dark=True)
    found = cv2.imread(str(path))
    assert found.shape == (1400, 780, 3)
    assert found[-1, -1].max() < 60
    page.click("#far")
    page.until("document.getElementById('said').textContent == 'touched far '", 5)
    page.look()
    assert page.run("[innerWidth, devicePixelRatio, matchMedia('(prefers-color-scheme: dark)').matches]") == [
        1280,
        1,
        False,
    ]


def test_what_goes_wrong_is_noticed(browser: Browser, site: str) -> None:
    broken = {
        "console.error: oh dear": "console.error('oh', 'dear')",
        "an exception: Error: alas": "setTimeout(() => { throw new Error('alas'); })",
        "404 for .*/absent": "fetch('absent')",
        "a request elsewhere: http://other.example:9/": "fetch('http://other.example:9/').catch(() => 0)",
        "a request elsewhere: ws://other.example:9/": "new WebSocket('ws://other.example:9/'), 0",
    }
    with browser.page() as page:
        page.open(site)
        for script in broken.values():
            page.run(script)
        found = page.watched
        until(lambda: len(found.problems) >= len(broken) + 3, f"the problems: {found.problems}")
        with pytest.raises(AssertionError):
            page.check()
        page.watched.expect(*broken, "404", "ERR_")
        page.check()


def test_pages_have_nothing_in_common_and_one_may_be_behind(browser: Browser, site: str) -> None:
    with browser.page() as one, browser.page() as two:
        one.open(site)
        two.open(site)
        one.run("document.cookie = 'a=b'")
        assert two.run("document.cookie") == ""
        one.hide(True)
        assert not two.run("document.hidden")
        one.hide(False)
        one.offline(True)
        one.watched.expect("ERR_INTERNET_DISCONNECTED")
        reached = "fetch('pages/some.js?again').then(() => 'there', () => 'away')"
        one.until(f"{reached}.then((found) => found === 'away')")
        one.offline(False)
        one.until(f"{reached}.then((found) => found === 'there')")


def test_a_page_that_leads_on_before_it_has_loaded_is_loaded_with_the_next(page: Page, site: str) -> None:
    page.before("if (location.search === '?on') location.replace('/');")
    page.open(site + "/?on")
    page.until("location.search === '' && document.readyState === 'complete'")


KEEP = """async () => {
  document.cookie = "a=b; max-age=1000";
  localStorage.setItem("a", "b");
  sessionStorage.setItem("a", "b");
  await caches.open("a");
  await new Promise((done) => (indexedDB.open("a").onsuccess = done));
}"""
KEPT = """async () => [
  document.cookie, localStorage.length, sessionStorage.length,
  (await caches.keys()).length, (await indexedDB.databases()).length,
  matchMedia("(prefers-color-scheme: dark)").matches,
]"""


def test_a_page_leaves_nothing_to_the_next(browser: Browser, site: str) -> None:
    """Though it may be in the same context."""
    fetched = []
    for _time in range(3):
        with browser.page() as page:
            page.before("window.before = (window.before ?? 0) + 1")
            page.open(site)
            assert page.run(f"({KEPT})()") == ["", 0, 0, 0, 0, False]
            assert page.run("window.before") == 1
            assert not page.run("document.hidden")
            page.run(f"({KEEP})()")
            assert page.run(f"({KEPT})()")[:5] == ["a=b", 1, 1, 1, 1]
            page.look(390, 700, dark=True, phone=True)
            page.offline(True)
            page.hide(True)
            fetched.append(page.watched.bytes.get(f"{site}/pages/some.js"))
    assert len(set(fetched)) == 1 and fetched[0] > len(SCRIPT), "none has it from a cache"


def test_the_camera_sees_what_is_shown(browser: Browser, page: Page, site: str) -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:, 160:] = 255
    browser.show(picture)
    page.open(site)
    look = """async () => {
      const stream = await navigator.mediaDevices.getUserMedia({video: {width: 320, height: 240}});
      const video = Object.assign(document.createElement("video"), {srcObject: stream, muted: true});
      await video.play();
      const canvas = Object.assign(document.createElement("canvas"), {width: 320, height: 240});
      const context = canvas.getContext("2d");
      context.drawImage(video, 0, 0);
      stream.getTracks().forEach(each => each.stop());
      return [40, 280].map(x => context.getImageData(x, 120, 1, 1).data[0]);
    }"""
    left, right = page.run(f"({look})()")
    assert left < 30 and right > 225


@pytest.mark.skipif(not AXE.is_file(), reason="needs tests/clients/environment.sh")
def test_axe_finds_what_is_wrong(page: Page, site: str) -> None:
    page.open(site)
    assert axe(page) == []
    page.run("document.getElementById('file').removeAttribute('aria-label')")
    assert [fault.split(":")[0] for fault in axe(page)] == ["label"]


def test_functions_that_have_not_run_are_named(
    browser: Browser, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some.js").write_text(SCRIPT)
    (tmp_path / "other.js").write_text("")
    monkeypatch.setattr(covered, "STATIC", tmp_path)
    kept, browser.coverage = browser.coverage, covered.Coverage()
    with browser.page() as page:
        page.open(site)
        page.click("#press")
        page.open(site)
        page.click("#far")
        page.until("document.getElementById('said').textContent", PATIENCE)
    found = browser.coverage.missing()
    browser.coverage = kept
    assert found == [
        "other.js:1:1 the whole file",
        "some.js:4:1 never",
        "some.js:7:63 a function without a name",
        "some.js:8:60 a function without a name",
    ]
