"""`imageserver demo` in a browser: its cameras are there, with boxes around the faces."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.demos import Demo
from tests.pages.browser import Page

BOXES = """name => {
  const tile = [...document.querySelectorAll('#tiles .tile')].find(one => one.querySelector('h3').textContent === name);
  const overlay = tile?.querySelector('.overlay');
  return overlay?.width > 0 && /face/.test(tile.querySelector('.found').textContent)
    && overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height).data.some(one => one);
}"""


@pytest.mark.long
def test_boxes_are_on_the_page_within_a_minute(page: Page, tmp_path: Path) -> None:
    with Demo(tmp_path, "--no-browser") as demo:
        page.open(demo.url)
        page.until(BOXES, 60, "Portrait")
        page.until(BOXES, 60, "Video call")
        page.until("document.querySelectorAll('#tiles .tile').length === 4")
        page.open("about:blank")  # which complains of no server that goes away
        assert demo.end() == 0
