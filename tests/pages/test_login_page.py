"""Logging in and out on the pages, in a browser: with and without JavaScript, refused, revoked, behind a proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.pages.browser import Browser, Page, axe
from tests.pages.serving import with_users
from tests.running import Server

CONNECTED = "document.getElementById('link')?.textContent === 'connected'"
TITLE = "document.querySelector('h1')?.textContent"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With `-a`, and a user of each role."""
    with with_users(tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


def log_in(page: Page, name: str, password: str = "") -> None:
    page.until(f"{TITLE} === 'Log in'")
    page.type("#user", name)
    page.type("#password", password or name)
    page.press("Enter")


def test_the_login_leads_on_and_signing_out_ends_it(server: Server, page: Page) -> None:
    page.watched.expect("401")
    page.open(server.url)
    assert page.run("document.activeElement.id") == "user"
    assert not axe(page)
    page.screenshot("login")
    log_in(page, "viewer", "wrong")
    page.until("document.getElementById('sentence')?.textContent === 'The user name or the password is wrong.'")
    page.screenshot("login-wrong", 390, 844, dark=True)
    page.look()
    log_in(page, "viewer")
    page.until(CONNECTED)
    assert page.run("location.pathname") == "/"
    assert not page.run("!!document.getElementById('steering')"), "viewers look"
    assert page.run("document.cookie") == "", "no script sees the cookie"
    page.open(f"{server.url}/login?next=")
    page.until(CONNECTED)  # whoever is logged in need not again
    page.click(".who button")
    page.until(f"{TITLE} === 'Log in'")
    page.open(server.url)
    assert page.run(TITLE) == "Log in"


def test_who_lacks_the_role_is_told_so_and_where_to_go(server: Server, page: Page) -> None:
    page.watched.expect("403")
    page.open(server.url)
    log_in(page, "camera")
    page.until(f"{TITLE} === 'This page is not open to you'")
    assert not axe(page)
    page.screenshot("refused")
    page.click("main .links a")
    page.until(f"{TITLE} === 'Camera'")


def test_it_works_without_javascript(server: Server, page: Page) -> None:
    page.open(f"{server.url}/login?next=camera")
    page.ask("Emulation.setScriptExecutionDisabled", value=True)
    page.open(f"{server.url}/login?next=camera")
    for name in ("user", "password"):
        page.run("name => document.getElementById(name).value = 'admin'", name)
    page.run("document.querySelector('#login button').click()")
    page.until(f"{TITLE} === 'Camera'")
    page.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_logins_are_listed_and_ended_and_an_ended_one_is_told_so(server: Server, browser: Browser) -> None:
    with browser.page() as mine, browser.page() as other:
        for page in (mine, other):
            page.open(server.url)
            log_in(page, "viewer")
            page.until(CONNECTED)
        mine.until("document.getElementById('empty').checkVisibility()")  # then nothing moves any more
        mine.click("#logins-more summary")
        rows = "[...document.querySelectorAll('#logins li')]"
        mine.until(f"{rows}.length >= 2")
        assert mine.run(f"{rows}.filter(each => each.innerText.includes('this one')).length") == 1
        assert not axe(mine)
        mine.screenshot("live-logins")
        other.watched.expect("401", "WebSocket")
        count = mine.run(f"{rows}.length")
        for left in range(count - 1, 0, -1):
            mine.click("#logins button")
            mine.until(f"{rows}.length === {left}")
        other.until("document.getElementById('lost').checkVisibility()")
        assert other.run("document.querySelector('#lost a').textContent") == "Log in"
        other.screenshot("live-logged-out")
        # A list that cannot be had says why.
        mine.watched.expect("401", "WebSocket")
        assert mine.run("fetch('logout', {method: 'POST'}).then(answer => answer.text())") == '{"logged_out":true}'
        for _ in range(2):
            mine.click("#logins-more summary")
        mine.until("document.getElementById('logins-error').checkVisibility()")
