"""The live page in a browser, against a real server with real cameras: what it shows, what an admin may do on it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import websocket
from tests import redis_server
from tests.pages.browser import Page, axe
from tests.protocols.session_client import Client
from tests.running import PATIENCE, Camera, Server, picture, until

AMONG = "[...document.querySelectorAll('#tiles h3')].map(each => each.textContent)"
MIDDLE = """name => {
  const tile = [...document.querySelectorAll('#tiles .tile')].find(one => one.querySelector('h3').textContent === name);
  const canvas = tile?.querySelector('canvas');
  return canvas && [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data];
}"""
VALUE = "document.querySelector('#tiles .value .figure')?.textContent"
SHOWN = "id => document.getElementById(id).checkVisibility()"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("--session-models", "echoer", data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


@contextlib.contextmanager
def cameras(server: Server, *names: str) -> Iterator[list[Camera]]:
    """Cameras of users of these names, each of which has sent a picture."""
    with contextlib.ExitStack() as open_ones:
        found = [open_ones.enter_context(Camera(server)) for _ in names]
        for number, (camera, name) in enumerate(zip(found, names, strict=True)):
            assert camera.login(name, "")
            camera.ask(picture(40 + number))
        yield found


def row_of(server: Server, name: str) -> dict[str, object]:
    return next(row for row in json.loads(server.get("/streams/")[1]) if row["name"] == name)


def test_before_anything_streams_it_says_how_to_begin(server: Server, page: Page) -> None:
    page.open(server.url)
    page.until(SHOWN, PATIENCE, "empty")
    page.until("[...document.querySelectorAll('#empty img')].every(one => one.naturalWidth > 0)")
    assert page.run("document.querySelector('.camera-page').href") == f"{server.url}/camera"
    assert f"--server 127.0.0.1:{server.port}" in page.run("document.getElementById('empty').innerText")
    assert not axe(page)
    page.screenshot("live-empty")
    page.screenshot("live-empty-phone", 390, 844, dark=True)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_a_stream_is_a_tile_with_its_newest_frame_and_what_was_found(server: Server, page: Page) -> None:
    page.open(server.url)
    with cameras(server, "hall") as (camera,):
        page.until("document.querySelector('#tiles .found')?.textContent === '40, 100 %'")
        for grey in (90, 200):
            camera.ask(picture(grey, 64, 48))
            page.until(f"(({MIDDLE})('hall') ?? [0]).every((one, at) => Math.abs(one - (at < 3 ? {grey} : 255)) < 4)")
        page.until("document.querySelector('#tiles .found').textContent === '200, 100 %'")
        overlay = "document.querySelector('#tiles .overlay')"
        drawn = (
            f"{overlay}.getContext('2d').getImageData(0, 0, {overlay}.width, {overlay}.height).data.some(one => one)"
        )
        assert page.run(drawn), "the label lies over the picture"
        page.until("/^\\d+ ms$/.test(document.querySelector('#tiles .wide .figure').textContent)")
        assert "Answered" in page.run("document.querySelector('#tiles .figures').innerText")
        camera.send(b"no picture at all")
        page.until("document.querySelector('#tiles .note').textContent.includes('picture')")
        page.click("#tiles .view")
        assert page.run("document.querySelector('#tiles .view').getAttribute('aria-pressed')") == "true"
        page.click("#tiles .view")
    page.until("!document.querySelector('#tiles .tile')")


def test_a_picture_is_turned_as_its_user_asked(server: Server, page: Page) -> None:
    """By tile.js itself, since a stream gets its turn from the database of users."""
    page.open(server.url)
    page.until(SHOWN, PATIENCE, "empty")
    corner = page.run("""(async () => {
      const {Tile} = await import(new URL('pages/live/tile.js', document.baseURI));
      const tile = new Tile({id: 'x'}, null);
      document.getElementById('tiles').append(tile.place);
      const drawn = new OffscreenCanvas(80, 40), context = drawn.getContext('2d');
      context.fillStyle = 'red';
      context.fillRect(0, 0, 40, 40);
      context.fillStyle = 'blue';
      context.fillRect(40, 0, 40, 40);
      const found = [];
      for (const rotate of [90, 180]) {
        const picture = await drawn.convertToBlob();
        await tile.show({picture, rotate, prediction: {size: [40, 80]}, type: 'image/png'});
        const {width, height} = tile.picture;
        found.push([...tile.picture.getContext('2d').getImageData(width / 2, height / 3, 1, 1).data],
                   [...tile.picture.getContext('2d').getImageData(width / 3, height / 2, 1, 1).data]);
      }
      tile.place.remove();
      return found;
    })()""")
    red, blue = [255, 0, 0, 255], [0, 0, 255, 255]
    assert corner[0] == red, "what was left is on top"
    assert corner[3] == blue, "what was right is left"


def test_boxes_tracks_and_points_are_drawn_where_they_are(server: Server, page: Page) -> None:
    page.open(server.url)
    page.until(SHOWN, PATIENCE, "empty")
    seen = page.run("""(async () => {
      const {draw} = await import(new URL('pages/shared/overlay.js', document.baseURI));
      const canvas = document.createElement('canvas');
      canvas.style = 'position: fixed; left: 0; top: 0; width: 400px; height: 200px';
      document.body.append(canvas);
      const at = (x, y) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[3] > 0;
      const box = {x: 10, y: 40, width: 50, height: 40, label: 'face', score: 0.9, id: 7, keypoints: [[30, 60]]};
      draw(canvas, {size: [100, 100], boxes: [box], tracks: [{id: 1, path: [{x: 80, y: 10}, {x: 80, y: 90}]}],
                    keypoints: [[90, 90, 0.5], ['none']]});
      // the picture has twice its size here, and lies in the middle
      const found = {left: at(120, 130), inside: at(150, 100), point: at(160, 120), path: at(260, 100),
                     free: at(280, 180), nothing: at(50, 100)};
      draw(canvas, {size: [100, 100], label: 'cat', score: 0.5});
      found.tag = at(108, 10);
      found.gone = at(120, 130);
      draw(canvas, null);
      found.cleared = at(108, 10);
      canvas.remove();
      return found;
    })()""")
    assert seen == {
        "left": True, "inside": False, "point": True, "path": True, "free": True, "nothing": False,
        "tag": True, "gone": False, "cleared": False,
    }  # fmt: skip


def test_of_many_streams_those_are_shown_that_one_looks_for(server: Server, page: Page) -> None:
    page.look(1280, 800)
    page.open(server.url)
    names = [f"camera {number}" for number in range(8)]
    with cameras(server, *names):
        page.until(f"{AMONG}.length === 8")
        assert page.run(AMONG) == names
        page.until(SHOWN, PATIENCE, "filter")
        page.screenshot("live-many")
        assert not axe(page)
        page.type("#filter", "MERA 5")
        page.until(f"{AMONG}.join() === 'camera 5'")
        assert page.run("document.getElementById('summary').textContent").startswith("1 stream found")
        page.type("#filter", "nobody")
        page.until(SHOWN, PATIENCE, "no-match")
        page.type("#filter", " ")
        page.until(f"{AMONG}.length === 8")
        page.screenshot("live-phone", 390, 844)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        page.look(390, 844, phone=True)
        page.run("document.getElementById('tiles').lastChild.scrollIntoView()")
        page.until(f"({MIDDLE})('camera 7')?.[3] === 255")  # what comes into sight is drawn


def test_an_admin_changes_and_disconnects_a_stream(server: Server, page: Page) -> None:
    page.open(server.url)
    with cameras(server, "gate") as (camera,):
        page.click("#tiles .head button")
        page.until("document.getElementById('steering').open")
        assert not axe(page)
        page.screenshot("live-change", dark=True)
        page.click("#steering-close")
        page.until("!document.getElementById('steering').open")
        page.click("#tiles .head button")
        page.click("#steering-form .main")  # nothing is changed
        page.until("!document.getElementById('steering').open")
        page.click("#tiles .head button")
        page.choose("#steering-model", "chest")
        page.choose("#steering-hz", "5")
        page.type("#steering-name", "front gate")
        page.click("#steering-form .main")
        page.until("!document.getElementById('steering').open")
        until(lambda: row_of(server, "front gate")["model"] == "chest", "the change")
        page.until(f"{AMONG}.includes('front gate')")
        page.watched.expect("400", "404")
        page.click("#tiles .head button")
        page.type("#steering-name", "events")  # the name of a route
        page.click("#steering-form .main")
        page.until(SHOWN, PATIENCE, "steering-error")
        assert page.run("document.getElementById('steering').open")
        page.click("#steering-end")
        assert "Really" in page.run("document.getElementById('steering-end').textContent")
        page.click("#steering-end")
        until(lambda: not camera.client.connected, "the end of the stream")
    page.until("!document.querySelector('#tiles .tile')")


def test_a_session_has_its_values_with_curves(server: Server, page: Page) -> None:
    page.open(server.url)
    with Client(server) as client:
        client.start()
        for number in range(1, 1000):  # on a busy machine a model may say something too late for its own frame
            assert client.frame(43, 1000 * number)["success"]
            client.wait(number)
            if "echoer_number" in client.predictions[-1] and page.run(VALUE) == "43":
                break
        assert "echoer number" in page.run("document.querySelector('#tiles .values').innerText")
        assert page.run("document.querySelectorAll('#tiles .value canvas').length") == 1
        page.until("document.querySelector('#tiles .value canvas').ariaLabel?.startsWith('now 43')")
        page.click("#tiles .head button")
        page.until("document.getElementById('steering').open")
        assert not page.run(SHOWN, "steering-options"), "its models are the server's to choose"
        page.type("#steering-name", "my heart")
        page.click("#steering-form .main")
        page.until("document.querySelector('#tiles .tile').innerText.includes('my heart')")
        page.click("#tiles .head button")
        page.until("document.getElementById('steering').open")
        page.click("#steering-end")
        page.click("#steering-end")
        page.until("!document.querySelector('#tiles .tile')")


def test_snap_asks_capture_devices_and_their_pictures_appear(server: Server, page: Page) -> None:
    page.open(server.url)
    page.until(SHOWN, PATIENCE, "empty")  # then nothing moves any more
    device = websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws", timeout=PATIENCE)
    with contextlib.closing(device):
        page.click("#snap")
        assert device.recv() == "snap"
        page.until("document.getElementById('snap-said').textContent.startsWith('Asked at')")
        for grey in (70, 80):
            requests.put(f"{server.url}/snippets/3/", data=picture(grey), timeout=PATIENCE).raise_for_status()
            page.until(f"document.querySelector('#snippets li')?.innerText.includes('{grey}')")
        page.until("document.querySelector('#snippets img').naturalWidth === 64")
    requests.delete(f"{server.url}/snippets/3/", timeout=PATIENCE).raise_for_status()
    page.until("!document.querySelector('#snippets li')")


def test_models_are_shown_and_loaded_anew(server: Server, page: Page) -> None:
    page.open(server.url)
    page.until("document.querySelector('#models tr')?.innerText.includes('ready')")
    shown = "[...document.querySelectorAll('#models tr')].filter(each => each.checkVisibility()).length"
    few = page.run(shown)
    page.click("#models-more")
    assert page.run(shown) > few
    page.click("#models-more")
    assert page.run(shown) == few
    page.click("#models .actions button[aria-label='Reload echo']")
    page.until("document.getElementById('models-said').textContent === 'Echo is being loaded anew.'")
    page.until("document.getElementById('events').innerText.includes('model replaced')")
    assert not axe(page)
    page.screenshot("live-models", 1280, 800, dark=True)


def test_a_training_is_started_watched_and_cancelled(server: Server, page: Page) -> None:
    """Of a model that this server does not have: what the page makes of what it would be told."""
    page.open(server.url)
    page.until("!!document.querySelector('#models tr')")
    page.watched.expect("404")
    page.run("""(async () => {
      const {Models} = await import(new URL('pages/live/models.js', document.baseURI));
      const {offerTraining} = await import(new URL('pages/live/training.js', document.baseURI));
      const models = window.models = new Models(offerTraining((...order) => models.order(...order)));
      models.all = true;
      const net = {name: 'net', title: 'Net', state: 'failed', error: 'it is gone', trainable: true};
      models.update([net], []);
    })()""")
    row = "document.querySelector('#models [aria-label=\"Train net\"]')"
    assert "It is gone." in page.run(f"{row}.closest('tr').innerText")
    page.run(f"{row}.click()")
    page.until("document.getElementById('training').open")
    assert page.run("document.getElementById('training-title').textContent") == "Train Net"
    page.click("#training-close")
    page.run(f"{row}.click()")
    page.click("#training-form .main")
    page.until("document.getElementById('models-said').textContent.includes('net')")
    said = {
        "model": "net",
        "running": True,
        "state": "training",
        "text": "trains",
        "epoch": 2,
        "epochs": 4,
        "part": 0.5,
    }
    page.run("training => models.update([], [training])", {**said, "accuracy": 0.913, "seconds_left": 75})
    assert page.run("document.querySelector('#trainings progress').value") == 0.375
    assert "Trains. 91.3 % right. About 1 min left." in page.run("document.getElementById('trainings').innerText")
    page.click("#trainings button")
    page.until("document.getElementById('models-said').className === 'error'")
    page.run("training => models.update([], [training])", {"model": "net", "running": False, "state": "completed"})
    assert page.run("document.getElementById('trainings').innerText").split() == ["Training", "of", "net", "Completed."]


@pytest.mark.skipif(bool(redis_server.lacking()), reason=redis_server.lacking())
def test_what_is_gone_without_which_cameras_stream_on_stands_there_until_it_is_back(tmp_path: Path, page: Page) -> None:
    (tmp_path / "password").write_text(redis_server.PASSWORD)
    redis = redis_server.RedisServer()
    options = ("--front-end", "a", "--redis", redis.address, "--redis-password", str(tmp_path / "password"))
    with Server(*options, data=tmp_path) as server:
        page.open(server.ready().url)
        page.until(SHOWN, PATIENCE, "lacking")
        said = page.run("document.getElementById('lacking').innerText")
        assert said.startswith("Redis does not answer: ") and said.endswith("Cameras stream on.")
        page.screenshot("live-lacking", 390, 844)
        try:
            redis.start()
            page.until("!document.getElementById('lacking').checkVisibility()")
        finally:
            redis.close()
