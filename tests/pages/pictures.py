"""Takes the pictures of docs/pictures: the pages in Chromium, before `imageserver demo`. `make pictures` runs it."""

from __future__ import annotations

import base64
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
from tests.demos import Demo
from tests.pages.browser import Browser, Page
from tests.pages.devtools import CHROMIUM
from tests.running import ROOT, Server

FOLDER = ROOT / "docs" / "pictures"
MOST = 200_000
"""Bytes of each."""
PORTRAIT = ROOT / "clients" / "samples" / "photos" / "astronaut.jpg"
FOUND = """() => {
  const found = name => [...document.querySelectorAll('#tiles .tile')]
    .find(one => one.querySelector('h3').textContent === name)?.querySelector('.found').textContent ?? '';
  return /^face,/.test(found('Portrait')) && found('Video call') === 'face × 2' && found('Photo album') === 'none'
    && /%/.test(found('Handwriting'));
}"""
"""Whether every camera of the demo shows what it is there for, the album one of the pictures without a face."""
ANSWERED = """() => {
  const age = document.getElementById('age').textContent;
  return /^\\d?\\d ms$/.test(age) && /face/.test(document.getElementById('answer').textContent);
}"""
"""Whether a phone's camera is answered within 100 ms, as on a machine that has not too much else to do."""
BUSY = 600.0
"""Seconds until one that has too much is given up."""


def main() -> int:
    """Take all of them; 1 where one is too large, 2 where there is no browser."""
    if CHROMIUM is None:
        print("There is no Chromium here: scripts/apt-packages.sh installs it.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, opened(folder) as browser:
        pictures = [live(browser, Path(folder)), phone(browser, Path(folder))]
    return 1 if any(path.stat().st_size > MOST for path in pictures) else 0


def live(browser: Browser, folder: Path) -> Path:
    """The streams of the demo."""
    with Demo(folder, "--no-browser") as demo, browser.page() as page:
        page.ask("Emulation.setScrollbarsHidden", hidden=True)
        page.look(1280, 720)
        page.open(demo.url)
        page.until(f"({FOUND})()", BUSY)
        path = taken(page, "live", 1280, 424)
        page.open("about:blank")
    return path


def phone(browser: Browser, folder: Path) -> Path:
    """A phone that is the only camera of a server."""
    with Server(data=folder, models=None, model="faces") as server, browser.page() as page:
        page.look(390, 844, phone=True)
        page.open(f"{server.url}/camera")
        page.click("#start")
        page.until(f"({ANSWERED})()", BUSY)
        page.run("scrollTo(0, 0)")
        path = taken(page, "phone", 390, 560)
        page.open("about:blank")
    return path


@contextmanager
def opened(folder: str) -> Iterator[Browser]:
    """A browser whose camera sees a person."""
    browser = Browser(Path(folder))
    try:
        browser.show(cv2.resize(cv2.imread(str(PORTRAIT))[:345, :460], (640, 480), interpolation=cv2.INTER_CUBIC))
        yield browser
    finally:
        browser.close()


def taken(page: Page, name: str, width: int, height: int) -> Path:
    """A picture of a page as it is shown, a pixel for each of CSS, as WebP."""
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
    scale = 1 / page.run("devicePixelRatio")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
    data = base64.b64decode(page.ask("Page.captureScreenshot", format="webp", quality=82, clip=clip)["data"])
    path = FOLDER / f"{name}.webp"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    print(f"{path.relative_to(ROOT)}: {len(data):,} bytes{f', more than {MOST:,}' if len(data) > MOST else ''}")
    return path


if __name__ == "__main__":
    sys.exit(main())
