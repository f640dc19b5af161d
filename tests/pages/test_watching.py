"""A stream in an `<img>` of somebody's page, and its events by EventSource."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pages.browser import Page
from tests.running import Camera, Server, picture

MOVES = """async (address) => {
const image = new Image();
image.src = address;
image.width = 320;
document.body.replaceChildren(image);
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const seen = new Set();
const end = performance.now() + 10000;
while (seen.size < 4 && performance.now() < end) {
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (!image.naturalWidth) continue;
  canvas.drawImage(image, 0, 0);
  seen.add(canvas.getImageData(160, 120, 1, 1).data[1] >> 3);
}
const size = [image.naturalWidth, image.naturalHeight];
image.removeAttribute("src");
image.remove();
return [seen.size, ...size];
}"""

EVENTS = """async (address) => {
const source = new EventSource(address);
const heard = {};
await new Promise((resolve) => {
  for (const kind of ["opened", "prediction"]) {
    source.addEventListener(kind, (event) => {
      heard[kind] = JSON.parse(event.data).name;
      if (heard.prediction) resolve();
    });
  }
});
source.close();
return heard;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("data")
    with Server(data=folder) as found, Camera(found.ready()) as camera:
        assert camera.login("anna", "x")
        stop = threading.Event()

        def send() -> None:
            frames = [picture(grey, 320, 240) for grey in range(16, 240, 16)]
            number = 0
            while not stop.wait(0.04):
                camera.ask(frames[number % len(frames)])
                number += 1

        camera.ask(picture())
        thread = threading.Thread(target=send)
        thread.start()
        yield found
        stop.set()
        thread.join()


@pytest.mark.parametrize("query", ["", "?fps=20&boxes=1"])
def test_an_image_moves(page: Page, server: Server, query: str) -> None:
    page.open(f"{server.url}/docs")
    seen, width, height = page.run(MOVES, f"{server.url}/streams/anna.mjpeg{query}")
    assert (seen >= 4, width, height) == (True, 320, 240)


def test_a_page_hears_events(page: Page, server: Server) -> None:
    page.open(f"{server.url}/docs")
    heard = page.run(EVENTS, f"{server.url}/streams/events?stream=anna")
    assert heard == {"opened": "anna", "prediction": "anna"}
