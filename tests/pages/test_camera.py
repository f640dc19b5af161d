"""The browser camera, in a browser with a camera that shows a known picture, against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.pages.browser import Browser, Page
from tests.running import Server

RIGHT = "document.getElementById('answer').textContent === '90, 100 %'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("--session-models", "sleeper", data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


@pytest.fixture(autouse=True)
def picture(browser: Browser) -> None:
    browser.show(np.full((480, 640, 3), 90, np.uint8))  # whose grey value is what the test model says


def test_the_right_answer_is_over_the_picture(server: Server, page: Page) -> None:
    page.open(server.url + "/camera")
    page.click("#start")
    page.until(RIGHT, 3)
    assert page.run("/^\\d+ ms$/.test(document.getElementById('age').textContent)")
    page.click("#start")
    page.until("document.getElementById('camera').dataset.state === 'ended'", 3)
