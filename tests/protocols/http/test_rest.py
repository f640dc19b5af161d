"""Networks by name over HTTP and HTTPS, as `requests` sees them: every answer and every refusal of docs/rest.md."""

import base64
import contextlib
import json
import re
import socket
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from tests.running import ROOT, picture, until

SAMPLES = ROOT / "clients" / "samples" / "digits"
JSON = {"Content-Type": "application/json"}
BIG = b"x" * 17_000_000


@pytest.fixture(params=["http", "https"])
def secure(request):
    return request.param == "https"


def base64_of(data):
    return base64.b64encode(data).decode()


def error_of(answer, status):
    """The sentence of a refusal, which is JSON and never a traceback."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
    found = answer.json()
    assert list(found) == ["error"]
    assert "Traceback" not in found["error"]
    harmless = re.sub(r"image/…|/list_nn|/docs|multipart/form-data|text/plain", "", found["error"])
    assert "/" not in harmless, "a path went out"
    return found["error"]


def test_the_list_names_every_model_and_its_path(server, secure):
    answer = server.ask("GET", "/list_nn", secure=secure)
    assert answer.status_code == 200
    assert set(answer.json()) == {"text"}
    assert {"LeNet url:/lenet", "Faces url:/faces", "Echo url:/echo"} <= set(answer.json()["text"])


def test_the_lists_leave_out_what_is_not_meant_for_people(models, tmp_path):
    from tests.protocols.http.conftest import RestServer

    folder = tmp_path / "models"
    folder.mkdir()
    for source in models.iterdir():
        (folder / source.name).symlink_to(source.resolve())
    (folder / "hidden").mkdir()
    (folder / "hidden" / "model.py").symlink_to((models / "echo" / "model.py").resolve())
    manifest = (models / "echo" / "model.toml").read_text()
    (folder / "hidden" / "model.toml").write_text("listed = false\n" + manifest)
    with RestServer(data=tmp_path, models=folder) as server:
        listed = server.ask("GET", "/list_nn").json()["text"]
        assert any("url:/echo" in line for line in listed)
        assert not any("hidden" in line for line in listed)
        assert "hidden" not in server.ask("GET", "/v2/models").json()["models"]
        assert "hidden" not in server.ask("GET", "/openapi.json").text
        assert server.ask("GET", "/hidden/about").status_code == 200, "whoever knows its name may use it"


@pytest.mark.parametrize("path", ["/lenet", "/lenet/about", "/lenet/", "/echo", "/echoer/about"])
def test_about_says_what_a_network_is(server, path):
    answer = server.ask("GET", path)
    assert answer.status_code == 200
    assert list(answer.json()) == ["text"]


def test_the_root_leads_to_the_list_or_to_a_page(server):
    answer = server.ask("GET", "/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/list_nn")
    page = server.ask("GET", "/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, auth=("", ""))
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.png")), ids=lambda path: path.name)
def test_ten_drawn_digits_are_read(server, path):
    answer = server.ask("POST", "/lenet/classify", json={"image": base64_of(path.read_bytes())})
    assert answer.status_code == 200
    found = answer.json()
    assert found["number"] == found["label"] == path.stem
    assert found["labels"][0] == {"label": path.stem, "score": found["score"]}


def test_a_picture_may_come_in_any_of_the_documented_ways(server, digit, secure):
    file, _pixels = digit
    lines = base64.encodebytes(file).decode()
    ways = [
        {"json": {"image": base64_of(file)}},
        {"json": {"image": lines}},
        {"json": {"image": lines.replace("\n", "\r\n")}},
        {
            "data": json.dumps({"image": base64_of(file)}),
            "headers": {"Content-Type": "application/json; charset=utf-8"},
        },
        {"data": b"\xef\xbb\xbf" + json.dumps({"image": base64_of(file)}).encode(), "headers": JSON},
        {"data": file, "headers": {"Content-Type": "image/png"}},
        {"data": file, "headers": {"Content-Type": "image/jpeg"}},
        {"files": {"image": ("7.png", file, "image/png")}},
        {"data": iter([file[:100], file[100:]]), "headers": {"Content-Type": "image/png"}},
        {"data": file},
        {"data": file, "headers": {"Content-Type": "application/octet-stream"}},
        {"data": file, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"data": file, "headers": JSON},
        {"data": json.dumps({"image": base64_of(file)}), "headers": {"Content-Type": "image/png"}},
        {"data": json.dumps({"image": base64_of(file)})},
        {"json": {"image": base64.urlsafe_b64encode(file).decode()}},
        {"json": {"image": base64.urlsafe_b64encode(file).decode().rstrip("=")}},
        {"json": {"image": lines.replace("+", "-").replace("/", "_")}},
        {"json": {"image": "data:image/png;base64," + base64_of(file)}},
    ]
    answers = [server.ask("POST", "/lenet/classify", secure=secure, **way) for way in ways]
    assert [answer.status_code for answer in answers] == [200] * len(ways)
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["number"] == "7"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
def test_every_kind_of_picture_is_taken(server, suffix):
    answer = server.ask("POST", "/echo/classify", json={"image": base64_of(picture(200, suffix=suffix))})
    assert answer.json()["label"] == "200"


def test_other_models_answer_as_their_kind_does(server):
    face = (ROOT / "clients/samples/photos/astronaut.jpg").read_bytes()
    found = server.ask("POST", "/faces/classify", data=face, headers={"Content-Type": "image/jpeg"}).json()
    assert (found["label"], "number" in found) == ("face", False)
    assert found["boxes"][0]["width"] > 50


def test_the_score_of_an_x_ray_is_the_probability_of_pneumonia(server):
    for grey in (30, 220):
        found = server.ask("POST", "/chest/classify", json={"image": base64_of(picture(grey))}).json()
        scores = {entry["label"].lower(): entry["score"] for entry in found["labels"]}
        assert found["score"] == scores["pneumonia"]


PICTURE = base64_of(picture())
REFUSALS = [
    ("POST", "/lenet/classify", {"data": b"", "headers": JSON}, 400, "empty"),
    ("POST", "/lenet/classify", {}, 400, "empty"),
    ("POST", "/lenet/classify", {"data": iter([b""]), "headers": JSON}, 400, "empty"),
    ("POST", "/lenet/classify", {"data": b"{", "headers": JSON}, 400, "no valid JSON"),
    ("POST", "/lenet/classify", {"data": b'{"image": \xff}', "headers": JSON}, 400, "no valid JSON"),
    ("POST", "/lenet/classify", {"data": b"[" * 50_000, "headers": JSON}, 400, "nested too deeply"),
    ("POST", "/lenet/classify", {"data": b'{"n": %s}' % (b"9" * 5000), "headers": JSON}, 400, "too many digits"),
    ("POST", "/lenet/classify", {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
    (
        "POST",
        "/lenet/classify",
        {"data": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
        400,
        "multipart",
    ),
    ("POST", "/lenet/classify", {"json": {"picture": PICTURE}}, 415, "image"),
    ("POST", "/lenet/classify", {"json": [PICTURE]}, 415, "image"),
    ("POST", "/lenet/classify", {"json": {"image": None}}, 415, "image"),
    ("POST", "/lenet/classify", {"json": {"image": "no base64!"}}, 415, "base64"),
    ("POST", "/lenet/classify", {"json": {"image": "data:image/png," + PICTURE}}, 415, "holds no base64"),
    ("POST", "/lenet/classify", {"json": {"image": base64_of(b"no picture")}}, 415, "no JPEG, PNG, BMP, TIFF or WebP"),
    ("POST", "/lenet/classify", {"json": {"image": base64_of(picture()[:-2])}}, 415, "cut short"),
    ("POST", "/lenet/classify", {"data": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "text/plain"),
    ("POST", "/lenet/classify", {"data": picture(), "headers": {"Content-Type": "text/plain"}}, 415, "text/plain"),
    ("POST", "/lenet/classify", {"data": b"x"}, 415, "no JPEG"),
    ("POST", "/lenet/classify", {"data": b"[1]"}, 415, "holds no picture"),
    ("POST", "/lenet/classify", {"data": b"x", "headers": {**JSON, "Content-Encoding": "gzip"}}, 415, "compressed"),
    ("POST", "/echoer/classify", {"json": {"image": PICTURE}}, 405, "sessions"),
    ("POST", "/nothing/classify", {"json": {"image": PICTURE}}, 404, "no model 'nothing'"),
    ("GET", "/nothing", {}, 404, "no model"),
    ("GET", "/lenet/nothing", {}, 404, "nothing at this path"),
    ("GET", "/favicon.ico", {"auth": ("", "")}, 404, "nothing at this path"),
    ("GET", "/a/b/c/d", {}, 404, "nothing at this path"),
    ("GET", "/nothing", {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}, 404, "no model"),
    ("GET", "/lenet/classify", {}, 405, "POST"),
    ("DELETE", "/lenet", {}, 405, "GET"),
    ("POST", "/list_nn", {}, 405, "GET"),
    ("GET", "/lenet/train?training_sample=all", {}, 400, "mnist or other"),
    ("GET", "/lenet/train?training_sample=other", {}, 406, "--training-data"),
    ("POST", "/lenet/train?training_sample=all", {}, 400, "mnist or other"),
    ("POST", "/lenet/train?training_sample=other", {}, 406, "--training-data"),
    ("GET", "/lenet/train", {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "another site"),
    ("POST", "/lenet/train", {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "another site"),
    ("POST", "/lenet/train", {"headers": {"Sec-Fetch-Site": "same-site"}}, 403, "another site"),
    ("POST", "/lenet/train", {"headers": {"Origin": "null"}}, 403, "--cors-origin"),
    ("GET", "/lenet", {"headers": {"Origin": "null"}}, 403, "--cors-origin"),
    ("GET", "/lenet", {"headers": {"Host": "evil.example", "User-Agent": "Mozilla/5.0"}}, 403, "--server-name"),
    ("POST", "/lenet/train/cancel", {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "another site"),
    ("GET", "/echo/train", {}, 405, "cannot be trained"),
    ("GET", "/echo/train/status", {}, 405, "cannot be trained"),
    ("POST", "/lenet/train/cancel", {}, 409, "no training"),
]


@pytest.mark.parametrize(("method", "path", "more", "status", "words"), REFUSALS)
def test_refusals_say_what_is_wrong(server, method, path, more, status, words):
    answer = server.ask(method, path, **more)
    assert words in error_of(answer, status)
    if status == 405:
        assert "Allow" in answer.headers


def test_asking_for_headers_alone_starts_no_training(server):
    answer = server.ask("HEAD", "/lenet/train")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    assert server.ask("GET", "/lenet/train/status").status_code == 200


def test_browsers_reach_this_machine_by_its_names(server):
    here, machine = server.url.rpartition("/")[2], socket.gethostname()
    for name in (here, "localhost", "camera.localhost:1", "nas.local", machine, f"{machine}."):
        headers = {"Host": name, "User-Agent": "Mozilla/5.0"}
        assert server.ask("GET", "/health/live", headers=headers).status_code == 200, name
    until(lambda: server.ask("GET", "/health/live", headers=headers | {"Host": socket.getfqdn()}).ok, "the full name")


BROWSERS = [{"User-Agent": "Mozilla/5.0"}, {"Cookie": "a=b"}, {"Sec-Fetch-Site": "none"}, {"Origin": "{url}"}]


@pytest.mark.parametrize("headers", BROWSERS, ids=str)
def test_a_browser_starts_no_training_by_opening_its_address(server, headers):
    headers = {name: value.format(url=server.url) for name, value in headers.items()}
    answer = server.ask("GET", "/lenet/train?training_sample=other", headers=headers)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "by POST" in answer.json()["error"]
    posted = server.ask("POST", "/lenet/train?training_sample=other", headers=headers)
    assert "--training-data" in error_of(posted, 406)


def test_a_body_too_large_gets_its_413_every_time(server, secure):
    for _ in range(10):
        answer = server.ask("POST", "/lenet/classify", secure=secure, data=BIG, headers=JSON)
        assert "17000000 bytes; at most 16777216" in error_of(answer, 413)
    chunks = (BIG[at : at + 2**20] for at in range(0, len(BIG), 2**20))
    assert "at most 16777216" in error_of(
        server.ask("POST", "/lenet/classify", secure=secure, data=chunks, headers=JSON), 413
    )


def test_a_picture_over_a_limit_of_the_workers_costs_nobody_anything(server):
    """A PNG that says it is 20,000 pixels square, beside others of the same batch."""
    header = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    huge = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    workers = server.workers()
    with ThreadPoolExecutor(8) as pool:
        bodies = [huge, picture(90)] * 8
        found = list(pool.map(lambda body: server.ask("POST", "/echo/classify", data=body, timeout=20), bodies))
    assert [answer.status_code for answer in found] == [415, 200] * 8, [answer.text for answer in found]
    assert "pixels" in error_of(found[0], 415)
    assert server.workers() == workers
    assert "unexpected error" not in server.text


def test_the_largest_body_goes_through(server):
    body = json.dumps({"image": ""}).encode()
    padded = body[:-2] + b" " * (2**24 - len(body)) + b'"}'
    assert "empty" in error_of(server.ask("POST", "/lenet/classify", data=padded, headers=JSON), 415)
    assert error_of(server.ask("POST", "/lenet/classify", data=padded + b" ", headers=JSON), 413)


WRONG = [f"Basic {base64_of(pair)}" for pair in (b"test_nn:wrong", b"nobody:lenet", b"no colon")]
PATHS = [
    "/",
    "/list_nn",
    "/lenet",
    "/lenet/about",
    "/lenet/train",
    "/lenet/train/status",
    "/v2",
    "/openapi.json",
    "/docs",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", [None, *WRONG, "Basic ???", "Bearer abc"])
def test_credentials_are_demanded(server, path, header):
    answer = requests.get(server.url + path, headers={"Authorization": header} if header else {}, timeout=60)
    assert error_of(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_a_refusal_comes_before_the_body_is_read(server):
    """A client without credentials cannot make the server hold 16 MB: it is answered, then the body is dropped."""
    answer = requests.post(server.url + "/lenet/classify", data=BIG, headers=JSON, timeout=60)
    assert error_of(answer, 401)


def test_requests_at_once_do_not_mix(server):
    """Each green thread has a request of its own, though nothing is monkey-patched."""

    def ask(grey):
        body = {"image": base64_of(picture(grey, suffix=".png"))}
        return server.ask("POST", f"/{'slow' if grey % 8 == 0 else 'echo'}/classify", json=body).json()["label"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(100, 164))) == [str(grey) for grey in range(100, 164)]


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(server):
    credentials = base64_of(b"test_nn:lenet")
    lines = [
        "POST /lenet/classify HTTP/1.1",
        "Host: x",
        f"Authorization: Basic {credentials}",
        "Content-Type: image/png",
    ]
    head = "\r\n".join([*lines, "Content-Length: 100000", "", ""])
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(head.encode() + b"x" * 1000)
    assert server.ask("GET", "/lenet").status_code == 200
    assert not server.find("failed:")


def test_hundreds_of_connections_are_served_in_turn(server, digit):
    file, _pixels = digit

    def ask(_number):
        return server.ask("POST", "/lenet/classify", data=file, headers={"Content-Type": "image/png"}).json()["number"]

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(ask, range(300))) == {"7"}


def test_tls_handshakes_that_never_come_hold_up_nobody(server):
    host, port = server.secure_url.removeprefix("https://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(30)]
    try:
        silent[0].sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS at all
        assert server.ask("GET", "/list_nn", secure=True).status_code == 200
    finally:
        for each in silent:
            each.close()


def test_socketio_works_over_tls(server):
    import socketio

    with requests.Session() as session:
        session.verify = server.ca
        found = []
        for _ in range(3):  # it reads and writes TLS in two threads, which loses one connection in some hundreds
            client = socketio.Client(reconnection=False, http_session=session)
            client.on("onAuthentication", found.append)
            with contextlib.suppress(socketio.exceptions.SocketIOError):
                client.connect(server.secure_url, transports=["websocket"], wait_timeout=60)
                client.emit("authenticate", ("test_nn", "lenet", "onAuthentication"))
                until(lambda client=client: found or not client.connected, "an answer over wss")
                client.disconnect()
                client.eio.wait()
            if found:
                break
    assert found == [True]


def test_where_no_credentials_are_checked_none_are_needed_and_any_will_do(models, tmp_path):
    from tests.protocols.http.conftest import RestServer

    with RestServer("--max-requests", "2", data=tmp_path, models=models) as open_server:
        for path in ("/list_nn", "/", "/lenet", "/lenet/train/status", "/v2", "/openapi.json"):
            assert open_server.ask("GET", path, auth=("anybody", "anything")).status_code < 400
            assert requests.get(open_server.url + path, timeout=60).status_code == 200
        sent = requests.post(open_server.url + "/echo/classify", json={"image": PICTURE}, timeout=60)
        assert (sent.status_code, sent.json()["label"]) == (200, "128")
        refused = requests.post(open_server.url + "/lenet/train/cancel", timeout=60)
        assert refused.status_code == 409, "who may is asked only of those who log in"
        open_server.ask("POST", "/slow/classify", json={"image": PICTURE})

        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(lambda _: open_server.ask("POST", "/slow/classify", json={"image": PICTURE}), range(24))
            )
        assert {answer.status_code for answer in answers} == {200, 503}
        assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 503)


def test_the_camera_client_speaks_https(server):
    command = [
        sys.executable,
        ROOT / "clients/camera.py",
        SAMPLES / "4.png",
        "-m",
        "lenet",
        "--user",
        "test_nn",
        "--password",
        "lenet",
    ]
    address = server.secure_url.removeprefix("https://")
    for trust in (["--ca", server.ca], ["--insecure"]):
        done = subprocess.run(
            [*command, "--server", address, *trust, "--json"], capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        assert '"label": "4"' in done.stdout or '"label":"4"' in done.stdout
    done = subprocess.run([*command, "--server", server.secure_url], capture_output=True, text=True, timeout=100)
    assert done.returncode == 3
