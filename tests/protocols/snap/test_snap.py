"""Snap over real sockets: the relay, pictures by PUT, and the two clients."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
import websocket
from tests.running import PATIENCE, ROOT, CheapServer, Server, picture, until

from client_programs.relay import delays


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("--ws-send-timeout", "0.5s", data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


def join(server: Server, room: str = "", **options: Any) -> websocket.WebSocket:
    return websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws{room}", timeout=PATIENCE, **options)


def put(server: Server, identity: int, data: bytes | None = None, **options: Any) -> requests.Response:
    return requests.put(f"{server.url}/snippets/{identity}/", data=data, timeout=PATIENCE, **options)


def get(server: Server, path: str, **options: Any) -> requests.Response:
    return requests.get(server.url + path, timeout=PATIENCE, **options)


def test_every_text_reaches_every_other_client_in_order(server: Server) -> None:
    one, two, three = join(server), join(server), join(server)
    try:
        for number in range(50):
            one.send(f"text {number} é€")
        for other in (two, three):
            assert [other.recv() for _ in range(50)] == [f"text {number} é€" for number in range(50)]
        two.send("back")
        assert one.recv() == "back", "one never hears itself"
    finally:
        for each in (one, two, three):
            each.close()


def test_rooms_are_apart(server: Server) -> None:
    common, kitchen, cook = join(server), join(server, "/kitchen"), join(server, "/kitchen")
    try:
        kitchen.send("soup")
        common.send("hello")
        assert cook.recv() == "soup"
        kitchen.send("salad")
        assert cook.recv() == "salad"
    finally:
        for each in (common, kitchen, cook):
            each.close()
    assert get(server, "/ws/a/b").status_code == 404
    no_upgrade = get(server, "/ws")
    assert (no_upgrade.status_code, no_upgrade.headers["Sec-WebSocket-Version"]) == (426, "13")
    assert no_upgrade.json() == {"error": "this address speaks WebSocket"}


def test_binary_is_turned_away(server: Server) -> None:
    client = join(server)
    client.send_binary(b"x")
    assert client.recv_data(control_frame=True)[1][:2] == (1003).to_bytes(2, "big")
    client.shutdown()


def test_a_client_that_does_not_read_is_dropped_and_delays_nobody(server: Server) -> None:
    deaf = [join(server) for _ in range(3)]
    sender, reader = join(server), join(server)
    text = "x" * 8000
    heard: list[str] = []

    def read() -> None:
        while len(heard) < 800:
            heard.append(reader.recv())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(800):
            # On a busy machine the reader could fall as far behind as the deaf are.
            until(lambda number=number: number - len(heard) < 100, "the reader")
            sender.send(f"{number} {text}")
        thread.join(PATIENCE)
        assert [line.split()[0] for line in heard] == [str(number) for number in range(800)]

        def dropped() -> bool:
            figures = get(server, "/metrics").text
            return 'imageserver_connections{transport="relay"} 2.0' in figures

        until(dropped, "the deaf to be dropped")
    finally:
        for each in (*deaf, sender, reader):
            each.shutdown()


def test_a_client_that_does_not_read_is_dropped_even_if_the_kernel_holds_all_for_it(server: Server) -> None:
    small = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),)
    deaf, sender, reader = join(server, "/few", sockopt=small), join(server, "/few"), join(server, "/few")
    try:
        for number in range(40):
            sender.send(f"{number} " + "x" * 1000)
        for number in range(40):
            assert reader.recv().split()[0] == str(number)
        until(
            lambda: 'imageserver_connections{transport="relay"} 2.0' in get(server, "/metrics").text,
            "the deaf to be dropped",
        )
        sender.send("still here")
        assert reader.recv() == "still here"
    finally:
        for each in (deaf, sender, reader):
            each.shutdown()


def test_a_picture_is_kept_with_its_prediction(server: Server) -> None:
    listener = join(server)
    try:
        answer = put(server, 1, picture(120, suffix=".png"), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        found = answer.json()
        assert (found["id"], found["prediction"]["label"], found["prediction"]["model"]) == (1, "120", "echo")
        heard = listener.recv()
        assert '"snippet": 1' in heard
        assert '"label": "120"' in heard
        assert get(server, "/snippets/1/").json()["prediction"] == found["prediction"]
        image = get(server, "/snippets/1/image")
        assert (image.content, image.headers["Content-Type"]) == (picture(120, suffix=".png"), "image/png")
        assert 1 in [snippet["id"] for snippet in get(server, "/snippets/").json()["snippets"]]
    finally:
        listener.close()


def test_forms_and_models_by_name(server: Server) -> None:
    answer = put(
        server, 2, None, files={"file": ("opencv_frame_0.png", picture(50), "image/png")}, params={"model": "slow"}
    )
    assert (answer.status_code, answer.json()["prediction"]["model"]) == (200, "slow")
    assert get(server, "/snippets/2/image").headers["Content-Type"] == "image/jpeg", "by content, never by name"
    assert put(server, 2, picture(60)).json()["prediction"]["label"] == "60"
    assert len(get(server, "/snippets/2/", params={"history": "1"}).json()["history"]) == 1


@pytest.mark.parametrize(
    ("identity", "data", "options", "status"),
    [
        (3, b"", {}, 400),
        (3, b"no picture", {}, 415),
        (3, picture()[:300], {}, 415),
        (3, picture(), {"params": {"model": "nix"}}, 404),
        (3, bytes(17 * 2**20), {}, 413),
        (2**63, picture(), {}, 404),
        (3, b"--x\r\n", {"headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
    ],
)
def test_what_is_no_picture_is_refused_and_not_kept(
    server: Server, identity: int, data: bytes, options: Any, status: int
) -> None:
    answer = put(server, identity, data, **options)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert get(server, "/snippets/3/").status_code == 404


def test_bodies_are_told_apart_as_everywhere(server: Server) -> None:
    text = base64.b64encode(picture(90)).decode()
    for body in (json.dumps({"image": text}), json.dumps({"image": f"data:image/jpeg;base64,{text}"})):
        answer = put(server, 4, body.encode())
        assert (answer.status_code, answer.json()["prediction"]["label"]) == (200, "90")
        assert get(server, "/snippets/4/image").content == picture(90)
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        assert put(server, 4, picture(91), headers={"Content-Type": kind}).status_code == 200


FORM = "multipart/form-data; boundary=x"
SIZE = 15 * 2**20
HOSTILE = {
    "lists": ("application/json", lambda: b"[[]," + b"[]," * (SIZE // 3) + b"1]"),
    "digits": ("application/json", lambda: b"[" + (b"9" * 4299 + b",") * 3500 + b"1]"),
    "base64": ("application/json", lambda: b'{"image":"' + b"A" * SIZE + b'"}'),
    "escapes": ("application/json", lambda: b'{"image":"' + b"\\u0041" * (SIZE // 6) + b'"}'),
    "headers of a part": (FORM, lambda: b"--x\r\n" + b"a: b\r\n" * (SIZE // 6)),
    "line ends": (
        FORM,
        lambda: b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n' + b"\r\n--" * (SIZE // 4),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_large_body_without_a_picture_holds_up_nobody(server: Server, name: str) -> None:
    """A loop probe stands beside this test, as beside all that send something large: one of these held it for 6 s."""
    kind, body = HOSTILE[name]
    answer = put(server, 5, body(), headers={"Content-Type": kind})
    assert answer.status_code in (400, 415) and set(answer.json()) == {"error"}


def test_a_picture_larger_than_the_space_for_all_is_refused_and_nothing_gives_way(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 800, 3), np.uint8)
    large = cv2.imencode(".png", noise)[1].tobytes()
    assert len(large) > 2**20
    with Server("--snippet-disk", "1M", data=tmp_path) as server:
        server.ready()
        assert put(server, 1, picture(80)).status_code == 200
        refused = put(server, 2, large)
        assert (refused.status_code, "--snippet-disk" in refused.json()["error"]) == (413, True)
        assert [snippet["id"] for snippet in get(server, "/snippets/").json()["snippets"]] == [1]
        assert get(server, "/snippets/1/image").content == picture(80)
        assert 'imageserver_limits_hit_total{limit="snippet-disk"} 1.0' in get(server, "/metrics").text


def test_deleting_and_what_is_not_there(server: Server) -> None:
    put(server, 5, picture())
    assert requests.delete(server.url + "/snippets/5/", timeout=PATIENCE).status_code == 200
    assert requests.delete(server.url + "/snippets/5/", timeout=PATIENCE).status_code == 404
    digits = "9" * 5000
    for path in ("/snippets/5/", "/snippets/5/image", "/snippets/nix/", "/snippets/5/other", f"/snippets/{digits}/"):
        assert (get(server, path).status_code, list(get(server, path).json())) == (404, ["error"])
    assert requests.patch(server.url + "/snippets/5/", timeout=PATIENCE).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [
        ("GET", "/snippets/?limit=0", "limit is a whole number from 1 to 1000, not '0'"),
        ("GET", "/snippets/?limit=1001", "limit is a whole number from 1 to 1000, not '1001'"),
        ("GET", "/snippets/?limit=-5", "limit is a whole number from 1 to 1000, not '-5'"),
        ("GET", f"/snippets/?after={'9' * 4000}", "after is a whole number from -1 to 9223372036854775807, not '999"),
        ("GET", "/snippets/?after=%D9%A1", "after is a whole number"),
        ("GET", "/snippets/5/?history=2", "history is yes or no, not '2'"),
        ("GET", "/snippets/5/?history=1&before=x", "before is a whole number from 0 to"),
        ("PUT", f"/snippets/5/?model={'x' * 65}", "model has 65 characters; at most 64 are taken"),
        ("PUT", f"/snippets/5/?room={'x' * 65}", "room has 65 characters; at most 64 are taken"),
        ("GET", f"/snippets/?{'&'.join('a' * 33)}", "the query has more than 32 fields"),
        ("GET", f"/snippets/?x={'y' * 4095}", "the query has 4097 bytes; at most 4096 are taken"),
    ],
)
def test_what_a_query_cannot_ask_is_refused_with_a_sentence(
    server: Server, method: str, path: str, sentence: str
) -> None:
    data = picture() if method == "PUT" else None
    refused = requests.request(method, server.url + path, data=data, timeout=PATIENCE)
    assert (refused.status_code, refused.json()["error"][: len(sentence)]) == (400, sentence)
    assert len(refused.json()["error"]) < 250


def test_lists_come_in_pages_that_lead_to_the_next(tmp_path: Path) -> None:
    with Server("--list-rows", "2", "--snippet-history", "3", data=tmp_path) as server:
        server.ready()
        for number in (3, 1, 4, 1, 5, 1):
            put(server, number, picture(number))
        found, path = [], "/snippets/"
        while path:
            answer = get(server, path)
            assert answer.headers["Content-Type"] == "application/json"
            assert len(answer.json()["snippets"]) <= 2
            found += [snippet["id"] for snippet in answer.json()["snippets"]]
            path = answer.links.get("next", {}).get("url", "")
        assert found == [1, 3, 4, 5]
        first = get(server, "/snippets/1/?history=1")
        rest = get(server, first.links["next"]["url"])
        assert [len(page.json()["history"]) for page in (first, rest)] == [2, 1]
        assert "next" not in rest.links
        assert get(server, "/snippets/1/?history=1&before=0").json() == {"id": 1, "history": []}
        assert 'imageserver_limits_hit_total{limit="list-rows"} 2.0' in get(server, "/metrics").text


def test_a_large_picture_comes_back_whole(server: Server) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 800, 3), np.uint8)
    large = cv2.imencode(".png", noise)[1].tobytes()
    assert put(server, 6, large).status_code == 200
    answer = get(server, "/snippets/6/image")
    assert (answer.content, answer.headers["Content-Length"]) == (large, str(len(large)))
    assert requests.head(server.url + "/snippets/6/image", timeout=PATIENCE).headers["Content-Length"] == str(
        len(large)
    )


def test_on_a_full_disk_the_server_says_so_and_goes_on(small_disk: Path) -> None:
    with Server(data=small_disk) as server:
        server.ready()
        assert put(server, 1, picture(80)).status_code == 200
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        for _ in range(3):
            refused = put(server, 2, picture(90))
            assert (refused.status_code, refused.headers["Retry-After"]) == (507, "60")
            assert refused.json() == {
                "error": "the server cannot keep pictures now, its disk may be full; its log says why"
            }
        assert get(server, "/snippets/2/").status_code == 404
        assert get(server, "/snippets/1/image").content == picture(80)
        assert len(list((small_disk / "snippets" / "pictures").iterdir())) == 1
        assert sum("pictures cannot be kept: " in line for line in server.lines) == 1
        assert "imageserver_snippets_refused_total 3.0" in get(server, "/metrics").text
        ballast.unlink()
        assert put(server, 2, picture(90)).status_code == 200
        server.wait_for("pictures can be kept again; 3 could not be")


def test_the_server_starts_on_a_full_disk_and_keeps_pictures_once_there_is_room(small_disk: Path) -> None:
    with Server(data=small_disk) as server:
        server.ready()
        assert put(server, 1, picture(80)).status_code == 200
        server.process.kill()
        server.process.wait()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with Server(data=small_disk) as server:
        server.ready()
        for path in ("/snippets/", "/snippets/1/", "/snippets/1/image", "/snippets/1/?history=1"):
            assert get(server, path).status_code == 507
        assert put(server, 2, picture(90)).status_code == 507
        ballast.unlink()
        assert put(server, 2, picture(90)).status_code == 200
        assert [snippet["id"] for snippet in get(server, "/snippets/").json()["snippets"]] == [1, 2]
        assert get(server, "/snippets/1/image").content == picture(80)
        assert sum("pictures cannot be kept: " in line for line in server.lines) == 1


def test_with_auth_everything_asks_and_deleting_takes_an_admin(tmp_path: Path) -> None:
    from imageserver.accounts.database import UserDB

    UserDB(tmp_path / "users.db").add("cam", "secret")
    UserDB(tmp_path / "users.db").add("boss", "secret", ("admin",))
    with CheapServer("-a", data=tmp_path) as server:
        server.ready()
        assert put(server, 1, picture()).status_code == 401
        assert get(server, "/snippets/", auth=("cam", "wrong")).status_code == 401
        assert put(server, 1, picture(), auth=("cam", "secret")).status_code == 200
        url = server.url + "/snippets/1/"
        assert requests.delete(url, auth=("cam", "secret"), timeout=PATIENCE).status_code == 403
        assert requests.delete(url, auth=("boss", "secret"), timeout=PATIENCE).status_code == 200
        for path in ("/ws", "/ws/kitchen"):
            refused = get(server, path, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
            assert (refused.status_code, list(refused.json())) == (401, ["error"])
        join(server, header=requests_header("cam", "secret")).close()


def requests_header(name: str, password: str) -> list[str]:
    from requests.auth import _basic_auth_str

    return ["Authorization: " + _basic_auth_str(name, password)]


def test_the_full_circle(server: Server, tmp_path: Path) -> None:
    """snap, a capture device with a picture file, PUT, the prediction announced."""
    source = tmp_path / "source.jpg"
    source.write_bytes(picture(77))
    room = "circle"
    options = ["-s", server.url, "--id", "42", "--source", str(source), "--room", room, "--count", "1"]
    program = [sys.executable, str(ROOT / "clients/capture.py")]
    capture = subprocess.Popen([*program, *options], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert capture.stdout is not None
        assert "Waiting for snap" in capture.stdout.readline()
        command = [
            sys.executable,
            str(ROOT / "clients/snap.py"),
            "-s",
            server.url,
            "--room",
            room,
            "--wait",
            str(PATIENCE),
        ]
        snapped = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert snapped.returncode == 0, snapped.stderr
        assert snapped.stdout.startswith("Picture 42: 77 ")
        assert capture.stdout.readline().startswith("Picture 42: 77 ")
        assert capture.wait(PATIENCE) == 0
        assert (tmp_path / "opencv_frame_0.png").is_file()
        assert get(server, "/snippets/42/").json()["prediction"]["label"] == "77"
    finally:
        capture.kill()
        capture.wait()
        assert capture.stdout is not None
        capture.stdout.close()


def test_both_programs_over_https_with_a_user(tmp_path: Path) -> None:
    """What is missing is named: the user, the password, the certificate."""
    source = tmp_path / "source.jpg"
    source.write_bytes(picture(66))

    def command(name: str, *words: str) -> list[str]:
        return [sys.executable, str(ROOT / "clients" / name), "-s", address, *words]

    def snap(*words: str, password: str = "secret") -> subprocess.CompletedProcess[str]:
        options = {**os.environ, "CAMERA_PASSWORD": password}
        return subprocess.run(
            command("snap.py", *words), env=options, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    with Server("-a", "--user", "alice:secret", "--https-port", "0", data=tmp_path) as server:
        found = until(lambda: server.find(r"https as well, on https://(\S+)$"), "the second port")
        assert isinstance(found, re.Match)
        address, ca = found[1], ["--ca", str(tmp_path / "tls" / "cert.pem"), "-u", "alice"]
        device = command("capture.py", "--source", str(source), "--count", "1", *ca)
        environment = {**os.environ, "CAMERA_PASSWORD": "secret"}
        capture = subprocess.Popen(device, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert capture.stdout is not None
            assert capture.stdout.readline() == f"Waiting for snap at https://{address}.\n"
            for words, password, said in (
                (["-u", "alice", "--insecure"], "wrong", "does not let 'alice' in"),
                (["--insecure"], "", "wants a user's name and password: give --user"),
                (
                    ["-s", f"https://{address}"],
                    "",
                    "is not trusted (self-signed certificate in certificate chain): give it with --ca",
                ),
                (["--ca", "nowhere.pem"], "", "There is no file nowhere.pem"),
            ):
                refused = snap(*words, password=password)
                assert refused.returncode in (2, 3) and said in refused.stderr, refused
            assert snap(*ca).stdout.startswith("Picture 1: 66 ")
            assert capture.wait(PATIENCE) == 0
        finally:
            capture.kill()
            capture.wait()
            assert capture.stdout is not None
            capture.stdout.close()


def test_a_capture_device_comes_back(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(picture(88))
    with Server(data=tmp_path) as first:
        command = [
            sys.executable,
            str(ROOT / "clients/capture.py"),
            "-s",
            first.url,
            "--source",
            str(source),
            "--count",
            "1",
        ]
        capture = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert capture.stdout is not None
        assert "Waiting" in capture.stdout.readline()
        port = first.port
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    try:
        with Server("-p", str(port), data=tmp_path) as second:
            assert "Waiting" in capture.stdout.readline()
            with_snap = join(second)
            with_snap.send("snap")
            assert capture.stdout.readline().startswith("Picture 1: 88 ")
            with_snap.close()
            assert capture.wait(PATIENCE) == 0
    finally:
        capture.kill()
        capture.wait()
        capture.stdout.close()


def test_delays_grow_and_are_jittered() -> None:
    steady, jittered = delays(lambda: 0.0), delays(lambda: 1.0)
    assert [next(steady) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [next(jittered) for _ in range(3)] == [0.5, 1, 2]
