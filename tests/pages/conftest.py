"""A browser, and a page for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.pages.browser import GREY, Browser, Page
from tests.pages.covered import PROPERTY, Coverage
from tests.pages.devtools import CHROMIUM


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser of all files."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (scripts/apt-packages.sh)")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser(process: Browser) -> Browser:
    """One process, with nothing before its camera; `browser.page()` gives pages."""
    process.show(GREY)
    return process


@pytest.fixture(autouse=True)
def _functions_are_counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the pages of a test ran is told in its report, see covered.py."""
    if "browser" not in request.fixturenames:
        yield
        return
    browser: Browser = request.getfixturevalue("browser")
    browser.coverage = Coverage()
    yield
    request.node.user_properties.append((PROPERTY, browser.coverage.files))


@pytest.fixture
def page(browser: Browser, _functions_are_counted: None) -> Iterator[Page]:
    """A page in a context of its own; it fails the test when it complained of something."""
    with browser.page() as page:
        yield page
