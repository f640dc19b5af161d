"""Pages in a real browser, as a person has them: opened, clicked, looked at, in the dark, on a phone, offline.

The fixtures `browser` and `page` of conftest.py give them to tests; a page that complains of something fails its test.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from tests.pages.covered import Coverage
from tests.pages.devtools import DevTools, DevToolsError
from tests.pages.watched import Watched
from tests.running import PATIENCE, ROOT, until

SCREENSHOTS = ROOT / "build" / "screenshots"
AXE = ROOT / "tests/clients/node_modules/axe-core/axe.min.js"
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
GREY = np.full((480, 640, 3), 128, np.uint8)
"""What the camera sees where nothing else is held before it."""
STORAGE = "local_storage,indexeddb,cache_storage,service_workers,file_systems"
_MIDDLE = """selector => {
  const element = document.querySelector(selector);
  if (!element) return null;
  element.scrollIntoView({block: "center", inline: "center", behavior: "instant"});
  const box = element.getBoundingClientRect();
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  const top = document.elementFromPoint(x, y);
  return top && (element.contains(top) || top.contains(element)) && !element.disabled ? [x, y] : null;
}"""


class Browser:
    """A browser's process with any number of pages, each in a context of its own: no cookie or cache in common.

    A context that a page has left as it was before is used again, since its first page takes half a second of a
    processor, and a further one a tenth.

    Args:
        folder: Where it keeps its profile and what its camera sees.
        options: Further options of its command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self._camera = folder / "camera.y4m"
        self.show(GREY)
        self.tools = DevTools(folder / "profile", f"--use-file-for-fake-video-capture={self._camera}", *options)
        self.coverage = Coverage()
        self._free: list[Context] = []

    def show(self, picture: bytes | Path | np.ndarray) -> None:
        """Hold a picture before the camera: what pages see that ask for the camera from now on."""
        fake_camera(picture, self._camera)

    @contextlib.contextmanager
    def page(self) -> Iterator[Page]:
        """A new page, closed at the end; AssertionError when it complained of something."""
        context = self._free.pop() if self._free else Context(self.tools)
        page = Page(self, context.identity)
        try:
            yield page
            page.check()
            page.count()
            context.clear(page)
            self._free.append(context)
        except BaseException:
            context.dispose()
            raise
        finally:
            self.tools.forget(page.session)

    def close(self) -> None:
        """End the process."""
        self.tools.close()


class Context:
    """What pages have in common that are open in the same window: cookies, storage, the cache."""

    def __init__(self, tools: DevTools) -> None:
        self._tools = tools
        self.identity: str = tools.ask("Target.createBrowserContext")["browserContextId"]
        # Always open, so that the window and the process of its pages stay.
        self._first = tools.ask("Target.createTarget", url="about:blank", browserContextId=self.identity)["targetId"]

    def clear(self, page: Page) -> None:
        """Close its pages, and leave nothing of what `page` did."""
        page.ask("Network.setCacheDisabled", cacheDisabled=True)  # which empties that of the page's process as well
        page.ask("Network.clearBrowserCache")
        for origin in page.watched.origins:
            page.ask("Storage.clearDataForOrigin", origin=origin, storageTypes=STORAGE)
        for target in self._tools.ask("Target.getTargets")["targetInfos"]:
            if target.get("browserContextId") == self.identity and target["targetId"] != self._first:
                self._tools.ask("Target.closeTarget", targetId=target["targetId"])
        self._tools.ask("Storage.clearCookies", browserContextId=self.identity)
        self._tools.ask("Browser.resetPermissions", browserContextId=self.identity)

    def dispose(self) -> None:
        """End it with all that is in it."""
        with contextlib.suppress(DevToolsError):
            self._tools.ask("Target.disposeBrowserContext", browserContextId=self.identity)


class Page:
    """One page; `Browser.page` makes it.

    Attributes:
        watched: what it asked for and complained of.
    """

    def __init__(self, browser: Browser, context: str) -> None:
        self._browser, self._tools, self._context = browser, browser.tools, context
        self._other, self._phone = "", False
        self._target = self._tools.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        attached = self._tools.ask("Target.attachToTarget", targetId=self._target, flatten=True)
        self.session: str = attached["sessionId"]
        self.watched = Watched(self._target)  # whose identity its main frame has
        self._tools.listen(self.session, self.watched.event)
        for domain in ("Page", "Runtime", "Network", "Log", "Profiler"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)
        self.ask("Profiler.startPreciseCoverage", callCount=True, detailed=False)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask something of the DevTools protocol."""
        return self._tools.ask(method, self.session, **parameters)

    def open(self, url: str) -> None:
        """Go to an address, and wait until all that its HTML names is loaded."""
        self.count()
        parts = urlsplit(url)
        self.watched.origin = f"{parts.scheme}://{parts.netloc}"
        answer = self.ask("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        if "loaderId" in answer:  # else it is the same page, at another place of it
            until(lambda: self.watched.is_loaded(answer["loaderId"]), f"the page {url}: {self.watched.problems}")

    def before(self, script: str) -> None:
        """Have JavaScript run before any script of the pages that are opened from now on."""
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of JavaScript, a promise's awaited; with arguments `script` is a function, and is called with them.

        Raises:
            DevToolsError: The page went to another address meanwhile.
            AssertionError: It threw an error.
        """
        if arguments:
            script = f"({script})(...{json.dumps(arguments)})"
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.ask("Runtime.evaluate", expression=script, **options)
        if details := answer.get("exceptionDetails"):
            raise AssertionError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = PATIENCE, *arguments: Any) -> Any:
        """Wait until JavaScript is true, on whichever page this one has gone to by then, and return its value."""

        def found() -> Any:
            with contextlib.suppress(DevToolsError):
                return self.run(script, *arguments)

        try:
            return until(found, script, seconds)
        except AssertionError as error:
            text = self.run("document.body.innerText.slice(0, 1000)")
            raise AssertionError(f"{error}\n{self.watched.problems}\n{text}") from None

    def click(self, selector: str) -> None:
        """Click in the middle of an element once it can be seen there; on a phone touch it."""
        x, y = self.until(_MIDDLE, PATIENCE, selector)
        if self._phone:
            self.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
            self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Write into a field in place of what stands there."""
        self.click(selector)
        self.run("selector => document.querySelector(selector).select()", selector)
        self.ask("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose in a list once it is there, or put a slider, as by hand."""
        self.until(
            """(selector, value) => {
              const field = document.querySelector(selector);
              if (field.options && ![...field.options].some((each) => each.value === value)) return false;
              field.value = value;
              for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, {bubbles: true}));
              return true;
            }""",
            PATIENCE,
            selector,
            value,
        )

    def press(self, key: str) -> None:
        """Press a key, one of KEYS."""
        about = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.ask("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def upload(self, selector: str, *paths: Path) -> None:
        """Choose files in a field for files."""
        found = self.ask("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        files = [str(path) for path in paths]
        self.ask("DOM.setFileInputFiles", objectId=found["result"]["objectId"], files=files)

    def check(self) -> None:
        """AssertionError: the page complained of something that the test did not expect."""
        problems = self.watched.unexpected()
        assert not problems, "\n".join(problems)

    def count(self) -> None:
        """Note which functions have run since the last time."""
        self._browser.coverage.add(self.ask("Profiler.takePreciseCoverage")["result"])

    def look(self, width: int = 1280, height: int = 800, *, dark: bool = False, phone: bool = False) -> None:
        """Have it shown at this width and height in CSS pixels, on a phone with two pixels each and touch."""
        scale = 2 if phone else 1
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.ask("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self._phone = phone

    def screenshot(self, name: str, width: int = 1280, height: int = 800, *, dark: bool = False) -> Path:
        """A picture of it in build/screenshots/; as on a phone where it is narrower than 600 pixels."""
        self.look(width, height, dark=dark, phone=width < 600)
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        path = SCREENSHOTS / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))
        return path

    def offline(self, yes: bool) -> None:
        """Take its network away, or give it back, in a moment; connections that are open stay."""
        self.ask("Network.emulateNetworkConditions", offline=yes, latency=0, downloadThroughput=-1, uploadThroughput=-1)

    def hide(self, yes: bool) -> None:
        """Put another page before it, or take that away."""
        if yes:
            made = self._tools.ask("Target.createTarget", url="about:blank", browserContextId=self._context)
            self._other = made["targetId"]
            self._tools.ask("Target.activateTarget", targetId=self._other)
        else:
            self._tools.ask("Target.closeTarget", targetId=self._other)
            self._tools.ask("Target.activateTarget", targetId=self._target)
        self.until("hidden => document.hidden === hidden", PATIENCE, yes)


def axe(page: Page) -> list[str]:
    """The serious faults that axe-core finds in a page as it is shown: "rule: what is wrong: element"."""
    if not AXE.is_file():
        pytest.skip("needs tests/clients/environment.sh")
    page.run(AXE.read_text() + "; true")
    options = {"resultTypes": ["violations"]}
    found = page.run("async options => (await axe.run(document, options)).violations", options)
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def fake_camera(picture: bytes | Path | np.ndarray, path: Path) -> Path:
    """Write what Chromium's camera without a device shows: the picture, given as a file or as its BGR pixels."""
    if isinstance(picture, Path):
        picture = picture.read_bytes()
    if isinstance(picture, bytes):
        picture = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    height, width = (size - size % 2 for size in picture.shape[:2])
    frame = cv2.cvtColor(picture[:height, :width], cv2.COLOR_BGR2YUV_I420).tobytes()
    head = f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n"
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(head.encode() + 2 * (b"FRAME\n" + frame))
    temporary.rename(path)
    return path
