"""Pages in a real browser: of another origin, of one that is named, and of a name that was made to lead here."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.running import PATIENCE, ROOT, TEST_MODELS, Server, picture

CHROMIUM = next(filter(None, map(shutil.which, ("google-chrome", "chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (scripts/apt-packages.sh)")

PAGE = """<!doctype html><title>a page</title><body><script>
const target = TARGET, picture = Uint8Array.from(atob("PICTURE"), each => each.charCodeAt(0));
const ws = target.replace("http", "ws");
const asked = async (path, options) => (await fetch(target + path, options)).ok;
const hears = (thing, good) => new Promise(done => {
  thing.addEventListener(good, () => done(true));
  thing.addEventListener("error", () => done(false));
});
async function pixels(path, crossOrigin) {
  const image = new Image(), canvas = document.createElement("canvas");
  if (crossOrigin) image.crossOrigin = crossOrigin;
  image.src = target + path;
  if (!await hears(image, "load")) return false;
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL().length > 100;
}
function submit(path) {
  const frame = document.createElement("iframe"), form = document.createElement("form");
  frame.name = "inner";
  Object.assign(form, {action: target + path, method: "post", target: "inner"});
  document.body.append(frame, form);
  form.submit();
  return hears(frame, "load").then(() => frame.contentDocument.body.innerText.includes("started"));
}
function jsonp(path) {
  const script = document.createElement("script");
  let heard = false;
  window.___eio = [text => heard = text.includes("sid")];
  script.src = target + path;
  document.head.append(script);
  return hears(script, "load").then(() => heard);
}
const attempts = {
  read: () => asked("/list_nn"),
  put: () => asked("/snippets/7/", {method: "PUT", body: picture}),
  json: () => asked("/echo/classify", {method: "POST", body: JSON.stringify({image: "PICTURE"}),
    headers: {"Content-Type": "application/json", "Authorization": "Basic eDp5"}}),
  post: () => asked("/snippets/8/", {method: "POST", body: new Blob([picture], {type: "text/plain"})}),
  remove: () => asked("/snippets/1/", {method: "DELETE"}),
  header: async () => (await fetch(target + "/snippets/?limit=1")).headers.has("Link"),
  picture: () => pixels("/snippets/2/image", "anonymous"),
  embedded: () => {
    const image = new Image();
    image.src = target + "/snippets/2/image?embedded";
    return hears(image, "load");
  },
  socketio: () => asked("/socket.io/?EIO=4&transport=polling"),
  socketio_ws: () => hears(new WebSocket(ws + "/socket.io/?EIO=4&transport=websocket"), "message"),
  jsonp: () => jsonp("/socket.io/?EIO=3&transport=polling&j=0"),
  relay: () => hears(new WebSocket(ws + "/ws"), "open"),
  events: () => hears(new EventSource(target + "/lenet/train/events"), "message"),
};
const blind = {  // these tell the page nothing; whether they did something the server knows
  no_cors: () => fetch(target + "/snippets/9/", {method: "POST", mode: "no-cors", body: new Blob([picture])}),
  tainted_picture: () => pixels("/snippets/2/image"),
  train_by_picture: () => pixels("/lenet/train?training_sample=other"),
  train_by_form: () => submit("/lenet/train?training_sample=other"),
};
(async () => {
  const found = {};
  for (const [name, attempt] of Object.entries({...attempts, ...blind}))
    found[name] = await attempt().catch(error => false) === true;
  await fetch("/report", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


class Pages:
    """A web server of somebody else. Beside its page every path leads on to the target, as when its name did."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.target_port, self.page = 0, b""
        self.report: dict[str, bool] = {}
        self.reported = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(65536)
                if not piece:
                    return
                head += piece
            if head.startswith(b"GET / "):
                self._answer(sock, self.page)
            elif head.startswith(b"POST /report "):
                body = head.partition(b"\r\n\r\n")[2]
                while not body.endswith(b"}"):
                    body += sock.recv(65536)
                self.report = json.loads(body)
                self._answer(sock, b"")
                self.reported.set()
            else:
                self._lead_on(sock, head)

    def _answer(self, sock: socket.socket, body: bytes) -> None:
        about = f"Content-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close"
        sock.sendall(f"HTTP/1.1 200 OK\r\n{about}\r\n\r\n".encode() + body)

    def _lead_on(self, sock: socket.socket, head: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.target_port)) as there:
            # Kept open, the connection would carry the report to the target as well.
            there.sendall(head.replace(b"Connection: keep-alive", b"Connection: close"))
            threading.Thread(target=_pour, args=(sock, there), daemon=True).start()
            _pour(there, sock)


def _pour(source: socket.socket, into: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            into.sendall(data)
    for sock in (source, into):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    found = Pages()
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(pages: Pages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with pictures 1 and 2, whose trainings come to nothing, which their status tells."""
    models, data = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("data")
    for source in (TEST_MODELS / "echo", ROOT / "models" / "lenet"):
        (models / source.name).symlink_to(source)
    (data / "few").mkdir()
    friend = f"http://friend.example:{pages.port}"
    options = ("--training-data", str(data / "few"), "--server-name", "nas.example", "--cors-origin", friend)
    with Server(*options, data=data, models=models) as running:
        running.ready()
        pages.target_port = running.port
        for number in (1, 2):
            requests.put(f"{running.url}/snippets/{number}/", picture(50), timeout=PATIENCE).raise_for_status()
        yield running


def shown(pages: Pages, name: str, target: str, folder: Path) -> dict[str, bool]:
    """What a page of `http://<name>` manages to do at `target`; "": at its own name, which leads there."""
    page = PAGE.replace("TARGET", f'"{target}"' if target else "location.origin")
    pages.page = page.replace("PICTURE", base64.b64encode(picture(60)).decode()).encode()
    pages.reported.clear()
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage")
    leading = "--host-resolver-rules=MAP *.example 127.0.0.1"
    address = f"http://{name}:{pages.port}/"
    command = [str(CHROMIUM), *options, leading, f"--user-data-dir={folder}", address]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert pages.reported.wait(PATIENCE), "the page has said nothing"
        return pages.report
    finally:
        browser.terminate()
        browser.wait(20)


def state(server: Server) -> tuple[list[int], bool]:
    """The numbers of the pictures that are there, and whether a training was ever started."""
    found: dict[str, Any] = requests.get(f"{server.url}/snippets/", timeout=PATIENCE).json()
    status = requests.get(f"{server.url}/lenet/train/status", timeout=PATIENCE)
    return [each["id"] for each in found["snippets"]], status.status_code != 200 or "note" in status.json()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("stranger.example", "http://nas.example:{port}"),  # as on a network: no Sec-Fetch headers
        pytest.param("stranger.localhost", "http://127.0.0.1:{port}", marks=pytest.mark.long),
        ("evil.example", ""),
    ],
)
def test_pages_of_other_origins_read_nothing_and_change_nothing(
    pages: Pages, server: Server, tmp_path: Path, name: str, target: str
) -> None:
    found = shown(pages, name, target.format(port=server.port), tmp_path)
    assert not any(found.values()), found
    assert state(server) == ([1, 2], False)
    who = rf"the origin 'http://{name}:\d+' of 127.0.0.1" if target else rf"the host '{name}' .* at 127.0.0.1"
    server.wait_for(f"{who} .*was refused; --{'cors-origin' if target else 'server-name'}")


def test_pages_of_a_named_origin_may_use_every_door(pages: Pages, server: Server, tmp_path: Path) -> None:
    found = shown(pages, "friend.example", f"http://nas.example:{server.port}", tmp_path)
    blind = {"no_cors", "tainted_picture", "train_by_picture", "train_by_form"}
    assert {name for name, done in found.items() if not done} == blind, found
    assert state(server) == ([2, 7, 8, 9], True)
