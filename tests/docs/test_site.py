"""`make site`, in a browser, from the disk: no server, no network."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.pages import BELOW, NAVIGATION
from tests.pages.browser import Browser, Page
from tests.pages.devtools import CHROMIUM
from tests.running import ROOT

SITE = ROOT / "build/site"
ELSEWHERE = """[...document.querySelectorAll("script, link, img, iframe")].map(each => each.src || each.href || "")
  .filter(url => /^https?:/.test(url))"""
WIDE = "document.documentElement.scrollWidth > window.innerWidth"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def site() -> Path:
    """The site as the command makes it: a warning ends it."""
    subprocess.run(["make", "--silent", "site"], cwd=ROOT, check=True, timeout=900)
    return SITE


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (scripts/apt-packages.sh)")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


def test_every_page_is_made_and_asks_nobody_for_anything(site: Path, browser: Browser) -> None:
    for name in ["index.md", *NAVIGATION, *BELOW]:
        with browser.page() as page:
            page.look(390, 844, phone=True)
            page.open((site / name).with_suffix(".html").as_uri())
            assert page.run(ELSEWHERE) == [], name
            assert not page.run(WIDE), f"{name} is wider than a phone"
            shown = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
            assert page.run(shown), f"a picture of {name} is not shown"


def test_search_needs_no_server(site: Path, browser: Browser) -> None:
    with browser.page() as page:
        page.look()
        page.open((site / "index.html").as_uri())
        search(page, "certificate")
        assert "docs/operations.html" in page.run('document.querySelector("#search-results").innerHTML')
        page.screenshot("site-search")


def search(page: Page, word: str) -> None:
    """Type a word into the field of the left column, and wait for what is found."""
    page.type("input.sidebar-search", word)
    page.press("Enter")
    page.until('document.querySelectorAll("#search-results li a").length > 1')
