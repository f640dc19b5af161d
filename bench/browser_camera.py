"""Camera to overlay in a browser: how old an answer is when it is shown over the picture on `/camera`.

    python bench/browser_camera.py [--hz 10] [--size 640x480] [--seconds 30] [--check]

A real server with LeNet and a headless Chromium whose camera shows a digit, on the same processors. An age runs from
the moment at which the browser's camera took the frame to the screen's next frame after the answer was drawn.
`--check`: exit code 1 when the 95th percentile is over 150 ms.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

from tests.pages.browser import Browser
from tests.running import Server

MOST_P95 = 150.0
"""Milliseconds."""
WARM_UP = 3.0
"""Seconds until ages count."""
WATCH = """(() => {
  window.ages = [];
  const age = document.getElementById("age");
  new MutationObserver(() => {
    const [drawn, then] = [parseInt(age.textContent, 10), performance.now()];
    requestAnimationFrame(() => setTimeout(() => window.ages.push(drawn + performance.now() - then)));
  }).observe(age, { childList: true });
})()"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hz", type=int, default=10, choices=range(31), metavar="0 to 30", help="0: as answers come")
    parser.add_argument("--size", default="640x480", help="one of the page's")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    ages, counts = measured(str(options.hz), options.size, options.seconds)
    p50, p95, p99 = np.percentile(ages, [50, 95, 99])
    print(f"{len(ages)} ages that changed: p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms; {counts}")
    return int(options.check and p95 > MOST_P95)


def measured(hz: str, size: str, seconds: float) -> tuple[list[float], str]:
    """Ages in milliseconds, and what the page says became of its frames."""
    digit = cv2.imread(str(ROOT / "clients/samples/digits/7.png"))
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(data=Path(folder), models=None, model="lenet") as server,
    ):
        browser = Browser(Path(folder))
        try:
            browser.show(cv2.copyMakeBorder(cv2.resize(digit, (480, 480)), 0, 0, 80, 80, cv2.BORDER_REPLICATE))
            server.ready()
            with browser.page() as page:
                page.open(server.url + "/camera")
                page.choose("#size", size)
                page.choose("#rate", hz)
                page.click("#start")
                page.until("document.getElementById('answer').textContent.startsWith('7, ')")
                time.sleep(WARM_UP)
                page.run(WATCH)
                time.sleep(seconds)
                counts = page.run("document.getElementById('counts').innerText")
                return page.run("window.ages"), " ".join(counts.split())
        finally:
            browser.close()


if __name__ == "__main__":
    sys.exit(main())
