"""What seldom happens to pages: a proxy that answers for a server that is gone, a login that is nearly over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pages.browser import Page
from tests.pages.watched import AWAY
from tests.running import PATIENCE, CheapServer, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with CheapServer("-a", "--user", "alice:secret", data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


def log_in(page: Page, server: Server) -> None:
    page.open(f"{server.url}/login?next=")
    page.type("#user", "alice")
    page.type("#password", "secret")
    page.press("Enter")
    page.until("document.getElementById('link')?.textContent === 'connected'", PATIENCE)


def test_a_page_that_is_looked_at_asks_before_its_login_ends(page: Page, server: Server) -> None:
    page.before("const often = setInterval; window.setInterval = (call, pause) => often(call, pause / 100);")
    log_in(page, server)
    asked = "performance.getEntriesByName(new URL('./', location).href, 'resource').length > 0"
    page.until(asked, PATIENCE)


def test_an_answer_that_is_not_the_servers_own(page: Page, server: Server) -> None:
    log_in(page, server)
    page.run("window.fetch = async () => new Response('<h1>Bad Gateway</h1>', {status: 502}), 0")
    page.click("#models button[aria-label='Reload echo']")
    page.until("document.getElementById('models-said').textContent.includes('server answered 502')", PATIENCE)


def test_the_login_is_shown_where_nothing_can_be_asked(page: Page, server: Server) -> None:
    page.before("window.fetch = () => Promise.reject(new TypeError('no network'));")
    page.open(f"{server.url}/login?next=docs")
    assert page.run("document.getElementById('user') !== null && location.pathname === '/login'")


def test_snap_says_that_nobody_could_be_asked(page: Page, tmp_path: Path) -> None:
    page.watched.expect(*AWAY)
    with Server(data=tmp_path) as server:
        page.open(server.url)
        page.until("document.getElementById('link').textContent === 'connected'", PATIENCE)
    page.click("#snap")
    page.until("document.getElementById('snap-said').textContent.includes('could not be asked')", PATIENCE)
