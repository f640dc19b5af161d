"""The client of `/live` in a browser: what it hands on, when it answers, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.pages.browser import Page
from tests.pages.viewer import Viewer
from tests.pages.watched import AWAY
from tests.passwords import CHEAP
from tests.running import Camera, CheapServer, Server, picture

from imageserver.accounts.database import UserDB

LINK = """async () => {
  const {Linked} = await import(new URL("pages/shared/linked.js", document.baseURI));
  window.heard = [];
  window.held = false;
  const note = kind => detail => { heard.push({kind, ...detail}); };
  const frame = async detail => {
    heard.push({kind: "frame", ...detail, bytes: detail.picture?.size ?? null});
    while (held) await new Promise(done => setTimeout(done, 10));
  };
  window.live = new Linked({hello: note("hello"), state: note("state"), frame, event: note("event"),
    closed: note("closed"), refused: note("refused")});
}"""
LAST = "(kind, after) => heard.slice(after).findLast(each => each.kind === kind)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


def link(page: Page, server: Server) -> None:
    """Open a page that holds little, and connect."""
    page.open(f"{server.url}/login")
    page.run(f"({LINK})()")
    heard(page, "state")


def heard(page: Page, kind: str, after: int = 0) -> Any:
    """Wait for something to be told, and return it."""
    return page.until(LAST, 30.0, kind, after)


def count(page: Page, kind: str = "") -> int:
    """How much was told so far, of this kind or in all."""
    found: int = page.run("kind => heard.filter(each => !kind || each.kind === kind).length", kind)
    return found


def test_frames_are_handed_on_and_rounds_answered_once_they_are_drawn(page: Page, server: Server) -> None:
    link(page, server)
    first = picture(30)
    with Camera(server) as camera, Viewer(server) as witness:
        sid = camera.client.get_sid()
        camera.ask(first)
        page.run("held = true")
        page.run("id => { live.watch([id]); live.watch([id]); }", sid)
        frame = heard(page, "frame")
        assert (frame["id"], frame["type"], frame["bytes"], frame["seq"]) == (sid, "image/jpeg", len(first), 1)
        assert frame["prediction"]["label"] == "30"
        before = count(page)
        for grey in (31, 32):
            camera.ask(picture(grey))
        witness.until("state")
        witness.until("state")
        assert count(page) == before, "the page has not said that it has drawn the first"
        page.run("held = false")
        assert heard(page, "frame", before)["prediction"]["label"] == "32"
        camera.ask(b"no picture")
        page.until("heard.at(-1).error || heard.at(-2).error || heard.findLast(each => each.error)")
        refused = heard(page, "frame", before + 1)
        assert (refused["bytes"], refused["type"]) == (None, "")


def test_a_filter_is_told(page: Page, server: Server) -> None:
    link(page, server)
    with Camera(server) as one, Camera(server) as other:
        for camera, name in ((one, "front"), (other, "back")):
            camera.login(name, "")
            camera.ask(picture())
        page.until("heard.at(-1).total === 2")
        page.run("live.filter('RON'); live.filter('RON')")
        page.until("heard.at(-1).total === 1")
        assert heard(page, "state")["streams"][0]["name"] == "front"


def test_a_hidden_page_hears_nothing(page: Page, server: Server) -> None:
    link(page, server)
    with Camera(server) as camera, Viewer(server) as witness:
        page.run("id => live.watch([id])", camera.client.get_sid())
        page.hide(True)
        before = count(page)
        camera.ask(picture(40))
        witness.until("state")
        witness.until("state")
        assert count(page) <= before + 1, "a round may have been on its way"
        page.hide(False)
        assert heard(page, "frame", before)["prediction"]["label"] == "40"


def test_a_callback_that_fails_ends_nothing(page: Page, server: Server) -> None:
    page.watched.expect("this part of the page is broken")
    page.open(f"{server.url}/login")
    broken = LINK.replace(
        'state: note("state")', 'state: () => { throw new Error("this part of the page is broken"); }'
    )
    page.run(f"({broken})()")
    heard(page, "hello")
    with Camera(server) as camera:
        camera.ask(picture(50))
        page.run("id => live.watch([id])", camera.client.get_sid())
        heard(page, "frame")
    page.run("live.close()")


def test_it_comes_back_after_a_restart_and_while_nobody_looks_it_does_not_try(page: Page, tmp_path: Path) -> None:
    page.watched.expect(*AWAY)
    with Server(data=tmp_path) as server:
        link(page, server.ready())
        page.run("live.watch(['kept']); live.filter('kept')")
        page.hide(True)
    lost = heard(page, "closed")
    assert lost["sentence"] == "the server is stopping" and 0 < lost["seconds"] < 2
    before = count(page)
    with Server("-p", str(server.port), data=tmp_path) as again:
        again.ready()
        page.hide(False)
        assert heard(page, "hello", before)["type"] == "hello"
        assert heard(page, "state", before)["total"] == 0
        with Camera(again) as camera, Viewer(again) as witness:
            camera.login("kept", "")
            camera.ask(picture())
            witness.listed("kept")
            page.until("heard.at(-1).total === 1")


def test_it_tries_again_with_growing_pauses_until_the_server_is_there(page: Page, tmp_path: Path) -> None:
    page.watched.expect(*AWAY)
    with Server(data=tmp_path) as server:
        link(page, server.ready())
    page.until("heard.filter(each => each.kind === 'closed').length >= 3")
    pauses = page.run("heard.filter(each => each.kind === 'closed').map(each => each.seconds)")
    assert all(low <= pause <= 2 * low for low, pause in zip((0.35, 0.7, 1.4), pauses, strict=False)), pauses
    assert page.run("heard.at(-1).sentence") == "the server cannot be reached"
    before = count(page)
    with Server("-p", str(server.port), data=tmp_path):
        heard(page, "hello", before)


def test_who_has_lost_the_login_is_told_and_it_tries_no_more(page: Page, tmp_path: Path) -> None:
    page.watched.expect("401", "WebSocket connection to")
    users = UserDB(tmp_path / "users.db", CHEAP)
    users.add("anna", "anna", ("viewer",))
    with CheapServer("-a", data=tmp_path) as server:
        page.open(f"{server.ready().url}/login")
        login = """async () => (await fetch("login", {method: "POST", headers: {"Content-Type": "application/json"},
          body: JSON.stringify({user: "anna", password: "anna"})})).status"""
        assert page.run(f"({login})()") == 200
        page.run(f"({LINK})()")
        assert heard(page, "hello")["user"] == "anna"
        users.remove("anna")
        refused = heard(page, "refused")
        assert refused["status"] == 401 and refused["sentence"] == "this login of a page has ended; log in again"
        page.run(f"({LINK})()")  # and who had none to begin with
        assert heard(page, "refused")["status"] == 401
        assert count(page, "closed") == 0
