"""clients/camera.py: its pure parts, and the program against a server that speaks CamStream."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from client_programs import report, sources
from client_programs.report import CameraReport
from client_programs.sources import Frame, Live, Video, open_source
from imageserver_client import connection
from imageserver_client.camera import Camera, Result
from imageserver_client.errors import SourceError, Unreachable, Wrong

ROOT = Path(__file__).resolve().parent.parent.parent
JPEG = b"\xff\xd8\xff\xe0 a picture "


@pytest.fixture
def folder(tmp_path):
    """Ten files that begin like pictures, named so that only natural order is right, and two that are none."""
    for number in range(10):
        magic = b"\x89PNG\r\n\x1a\n" if number % 2 else JPEG
        (tmp_path / f"{number + 1}.jpg").write_bytes(magic + b"%d" % number)
    (tmp_path / "README.txt").write_text("nothing")
    (tmp_path / ".hidden").write_bytes(JPEG)
    return tmp_path


# ---- sources -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (JPEG, True),
        (b"\x89PNG\r\n\x1a\n....", True),
        (b"BM\x36\x00\x0c\x00\x00\x00\x00\x00\x36\x00", True),
        (b"II*\0....", True),
        (b"MM\0*....", True),
        (b"RIFF\x24\x0a\x00\x00WEBPVP8 ", True),
        (b"RIFF\x24\x0a\x00\x00AVI LIST", False),
        (b"BMW is a car, not", False),
        (b"\x00\x00\x00\x20ftypisom", False),
        (b"", False),
    ],
)
def test_pictures_are_known_by_content(tmp_path, start, expected):
    (tmp_path / "x.jpg").write_bytes(start)
    assert sources.is_picture(tmp_path / "x.jpg") is expected


def test_a_folder(folder):
    notes = []
    source = open_source([str(folder)], repeat=False, note=notes.append)
    frames = [source.next(moment) for moment in range(11)]
    assert [frame.name for frame in frames[:10]] == [f"{number}.jpg" for number in range(1, 11)]
    assert frames[0].data == (folder / "1.jpg").read_bytes() and frames[10] is None
    assert notes == [f"Passed over in {folder}, since no pictures: README.txt"]


def test_several_pictures_in_the_order_given_and_again(folder):
    source = open_source([str(folder / "3.jpg"), str(folder / "1.jpg")], repeat=True, note=pytest.fail)
    assert [source.next(moment).name for moment in range(5)] == ["3.jpg", "1.jpg", "3.jpg", "1.jpg", "3.jpg"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["none.jpg"], "There is no file or folder {folder}/none.jpg."),
        (["empty"], "There are no pictures in {folder}/empty."),
        (["README.txt"], "{folder}/README.txt is neither a picture nor a video that OpenCV can read."),
        (
            ["1.jpg", "README.txt"],
            "{folder}/README.txt is no JPEG, PNG, BMP, TIFF or WebP picture; a video must be the only source.",
        ),
    ],
)
def test_what_is_no_source(folder, names, sentence, capfd):
    (folder / "empty").mkdir()
    with pytest.raises(SourceError) as caught:
        open_source([str(folder / name) for name in names], repeat=False, note=pytest.fail)
    assert str(caught.value) == sentence.format(folder=folder)


@pytest.fixture
def video(tmp_path):
    """Two seconds at 10 frames a second, each of one grey value: 0, 10, …, 190."""
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(tmp_path / "grey.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), number * 10, np.uint8))
    writer.release()
    return tmp_path / "grey.avi"


def grey(frame):
    import cv2
    import numpy as np

    return round(float(cv2.imdecode(np.frombuffer(frame.data, np.uint8), 0).mean()) / 10)


def test_a_video_shows_what_is_due(video):
    with open_source([str(video)], repeat=False, note=pytest.fail) as source:
        assert isinstance(source, Video)
        assert [grey(source.next(moment)) for moment in (0, 0.1, 0.5, 0.55, 1.9)] == [0, 1, 5, 5, 19]
        assert source.next(2.0) is None


class Http:
    """A web server: `body` is called with the request's handler for each GET."""

    def __init__(self, body):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(ConnectionError):
                    body(self)

            def log_message(self, *_anything):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.port = self._server.server_port

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_network_camera_shows_its_newest_picture_once(video):
    """Motion JPEG over HTTP, as many cameras have it."""
    with open_source([str(video)], repeat=False, note=pytest.fail) as source:
        pictures = [source.next(moment / 10).data for moment in range(20)]
    go_on = threading.Event()

    def stream(request):
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        request.end_headers()
        for number, picture in enumerate(pictures):
            if number == 15:
                go_on.wait(60)
            request.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n")

    with Http(stream) as camera:
        url = f"http://root:secret@127.0.0.1:{camera.port}/live"
        with open_source([url], repeat=False, note=pytest.fail) as source:
            assert isinstance(source, Live)
            first = source.next(0)
            go_on.set()
            second = source.next(0.1)
        assert 0 <= grey(first) < grey(second) <= 19
        assert second.name == f"http://127.0.0.1:{camera.port}/live, 2"


def test_a_video_behind_an_address_keeps_its_own_pace(video):
    def send(request):
        request.send_response(200)
        request.send_header("Content-Length", str(video.stat().st_size))
        request.end_headers()
        request.wfile.write(video.read_bytes())

    with (
        Http(send) as web,
        open_source([f"http://127.0.0.1:{web.port}/grey.avi"], repeat=False, note=pytest.fail) as source,
    ):
        assert isinstance(source, Video)
        frames = [source.next(moment) for moment in (0, 0.5, 1.9)]
        assert [grey(frame) for frame in frames] == [0, 5, 19] and frames[0].name == "grey.avi 1"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_network_camera_that_says_nothing_ends_in_a_sentence_in_time(scheme, monkeypatch):
    monkeypatch.setattr(sources, "NETWORK_PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live"
        began = time.monotonic()
        with pytest.raises(SourceError, match=re.escape(url) + " does not answer, or sends nothing"):
            open_source([url], repeat=False, note=pytest.fail)
    assert time.monotonic() - began < 30


def test_a_video_repeats(video):
    with open_source([str(video)], repeat=True, note=pytest.fail) as source:
        assert [grey(source.next(moment)) for moment in (1.9, 2.0, 2.1, 3.9, 4.0)] == [19, 0, 1, 19, 0]


# ---- the report --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([7], {"p50": 7, "p90": 7, "p99": 7, "max": 7}),
        (list(range(1, 101)), {"p50": 50, "p90": 90, "p99": 99, "max": 100}),
        ([3, 1, 2], {"p50": 2, "p90": 3, "p99": 3, "max": 3}),
    ],
)
def test_percentiles(values, expected):
    assert report.percentiles(values) == expected


@pytest.mark.parametrize(
    ("prediction", "text"),
    [
        ({"label": "7", "score": 0.996}, "7 99.6% (m, 12 ms)"),
        (
            {"label": "pneumonia", "score": 0.72, "input": "unlike"},
            "pneumonia 72.0%, unlike its training pictures (m, 12 ms)",
        ),
        ({"boxes": []}, "nothing found (m, 12 ms)"),
        ({"embedding": [0.6, 0.8]}, "a vector of 2 numbers (m, 12 ms)"),
        ({"values": {"age": 31.5}}, "age 31.5 (m, 12 ms)"),
        (
            {"boxes": [{"x": 1, "y": 2, "width": 3, "height": 4, "label": "face", "score": 0.5}]},
            "face 50.0% at 1,2, 3x4 (m, 12 ms)",
        ),
        ({"HR": 71, "HR_quality": 0.5}, "HR 71, HR_quality 0.5 (m, 12 ms)"),
        (
            {"HR": None, "HR_quality": 0.0, "HR_reason": "no face is seen"},
            "HR: no face is seen, HR_quality 0.0 (m, 12 ms)",
        ),
        ({"EAR": None, "reason": "no eyes"}, "EAR -, reason no eyes (m, 12 ms)"),
    ],
)
def test_a_prediction_in_words(prediction, text):
    assert report.describe({"model": "m", "age_ms": 12.3, "seq": 1, "dropped": 0, "timestamp": 5, **prediction}) == text


def test_counting(capsys):
    report = CameraReport(as_json=True, clock=lambda: 10.0)
    for seq in range(1, 8):
        report.sent(seq, Frame(b"", f"f{seq}"))
    prediction = {"model": "m", "label": "7", "score": 1.0}
    report.answered(Result(1, {**prediction, "age_ms": 5}, None, 10.1))
    report.answered(Result(4, None, "no picture", 10.1))  # says nothing of 2 and 3, which may still run
    report.answered(Result(3, {**prediction, "age_ms": 7}, None, 10.2))
    assert report.waiting
    report.answered(Result(6, {**prediction, "age_ms": 7}, None, 10.2))
    report.forget_waiting()
    report.summary()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    assert [figures[key] for key in ("sent", "answered", "dropped", "refused", "lost")] == [7, 3, 2, 1, 1]
    assert figures["age_ms"] == {"p50": 7, "p90": 7, "p99": 7, "max": 7}
    assert figures["round_trip_ms"]["p50"] == 200
    assert report.exit_code() == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://10.0.0.9/stream1", "rtsp://10.0.0.9/stream1"),
        ("rtsp://root:p/a@ss@10.0.0.9/stream1", "rtsp://10.0.0.9/stream1"),
        ("http://10.0.0.9/video?user=root&password=pass", "http://10.0.0.9/video"),
    ],
)
def test_no_password_of_a_camera_is_shown(url, shown):
    assert sources.without_password(url) == shown


@pytest.mark.parametrize(
    ("code", "why", "remedy"),
    [
        (10, "certificate has expired", "have it renewed"),
        (62, "Hostname mismatch, certificate is not valid for 'x'.", "give the address by a name that it has"),
        (18, "self-signed certificate", "give it with --ca FILE"),
    ],
)
def test_what_to_do_about_a_certificate(code, why, remedy):
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, why
    assert str(connection.unreachable("https://x", error)) == (
        f"The certificate of https://x is not trusted ({why.rstrip('.')}): {remedy}, or --insecure to trust it unseen."
    )


@pytest.mark.parametrize("wrong", ["http://x?key=k", "http://x/#a", "ws://x", "x:y"])
def test_no_addresses(wrong):
    with pytest.raises(Wrong, match="is no address: give host:port"):
        connection.url_of(wrong)


def test_addresses():
    assert connection.url_of("10.0.0.5:8080") == "http://10.0.0.5:8080"
    assert connection.url_of("https://cameras.example/") == "https://cameras.example"
    assert connection.url_of("https://example.org/cameras/", port=8080) == "https://example.org:8080/cameras"


def test_below_a_path_of_a_proxy():
    """What the first request asks for, when the address has a path."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}/cameras/"

        def connect():
            with contextlib.suppress(Unreachable), Camera(address, timeout=5):
                pass

        thread = threading.Thread(target=connect)
        thread.start()
        client, _ = listener.accept()
        with client:
            assert client.recv(1000).startswith(b"GET /cameras/socket.io/?")
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        thread.join()


# ---- the program -------------------------------------------------------------------------------------------------


class Server:
    def __init__(self, port=0):
        program = [sys.executable, str(Path(__file__).with_name("camstream_stand_in.py")), str(port)]
        self.process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        """End it; the lines that it printed."""
        self.process.kill()
        return self.process.communicate(timeout=60)[0].splitlines()


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.stop()


def start(*words, **environment):
    # A shell's background jobs ignore Ctrl-C and hand that on to what they start; the program is not to inherit it.
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, str(ROOT / "clients/camera.py"), *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )  # fmt: skip


def run(*words, **environment):
    with start(*words, **environment) as process:
        out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]


def test_each_picture_of_a_folder_gets_its_answer(server, folder):
    code, out, err = run(folder, "-m", "digits", "--server", f"127.0.0.1:{server.port}", "--hz", 1000)
    assert (code, err) == (0, f"Passed over in {folder}, since no pictures: README.txt\n")
    assert [line.split(" (")[0] for line in out.splitlines()[:10]] == [
        f"{number + 1}.jpg: {number} 99.6%" for number in range(10)
    ]
    assert out.splitlines()[10].startswith("10 sent, 10 answered, 0 dropped; age p50 2 ms")


def test_for_machines(server, folder):
    code, out, err = run(folder / "3.jpg", "--server", f"http://127.0.0.1:{server.port}", "--json")
    prediction, summary = lines_of(out)
    assert (code, err) == (0, "")
    assert (
        prediction["file"] == "3.jpg" and prediction["boxes"][0]["label"] == "face" and prediction["round_trip_ms"] > 0
    )
    assert summary["summary"]["sent"] == summary["summary"]["answered"] == 1


def test_streaming_drops_are_counted(server, folder):
    where = ("-m", "slow", "--server", f"127.0.0.1:{server.port}", "--timeout", 5)
    code, out, err = run(folder, *where, "--hz", 60, "--count", 60, "--json")
    *predictions, summary = lines_of(out)
    figures = summary["summary"]
    assert code == 0, err
    # A busy machine may not get all 60 out; of those that went, every third was answered.
    assert figures["sent"] + figures["skipped"] == 60
    assert [prediction["seq"] for prediction in predictions] == list(range(3, 3 * len(predictions) + 1, 3))
    assert figures["answered"] == len(predictions) and figures["dropped"] == 2 * len(predictions)
    assert figures["answered"] + figures["dropped"] + figures["lost"] == figures["sent"]


def test_a_video_streams_to_its_end(server, video):
    code, out, _err = run(video, "--server", f"127.0.0.1:{server.port}", "--hz", 10, "--json")
    *predictions, summary = lines_of(out)
    assert code == 0 and 1 <= len(predictions) == summary["summary"]["sent"] <= 20
    assert predictions[0]["file"] == "grey.avi 1"


def test_seconds_end_it(server, folder):
    code, out, _err = run(folder, "--server", f"127.0.0.1:{server.port}", "--hz", 50, "--seconds", 0.3, "--json")
    assert code == 0 and 1 <= lines_of(out)[-1]["summary"]["sent"] <= 16


def test_refused_frames_are_shown_and_fail(server, folder):
    code, out, _err = run(folder, "-m", "picky", "--server", f"127.0.0.1:{server.port}", "--hz", 1000)
    assert code == 1
    assert "2.jpg: refused: no picture\n" in out and "10 sent, 5 answered, 0 dropped, 5 refused; age" in out


def test_no_answer(server, folder):
    code, out, _err = run(folder / "1.jpg", "-m", "deaf", "--server", f"127.0.0.1:{server.port}", "--timeout", 0.5)
    assert code == 1
    assert out == "1.jpg: no answer within 0.5 s\n1 sent, 0 answered, 0 dropped, 1 lost\n"


def test_a_lost_connection_is_opened_again_and_the_picture_sent_again(folder):
    server = Server()
    where = ("--server", f"127.0.0.1:{server.port}", "--hz", 1000)
    code, out, err = run(folder, "-m", "leaver", "--user", "alice", *where, CAMERA_PASSWORD="secret")
    lines = server.stop()
    assert code == 0, err
    assert "The connection to the server is lost; connecting again\nconnected again\n" in err
    assert [line.split(":")[0] for line in out.splitlines()[:10]] == [f"{number}.jpg" for number in range(1, 11)]
    assert "11 sent, 10 answered, 0 dropped, 1 lost" in out
    assert lines.count("login alice") == 2


def test_login(server, folder):
    words = (folder / "1.jpg", "--server", f"127.0.0.1:{server.port}", "--user", "alice")
    assert run(*words, "--password", "secret")[0] == 0
    assert run(*words, CAMERA_PASSWORD="secret")[0] == 0
    code, out, err = run(*words, "--password", "wrong")
    assert (code, out) == (2, "")
    assert err == "The server does not let 'alice' in: the name or the password is wrong.\n"


def test_the_password_is_asked_for_on_a_terminal(server, folder):
    ours, theirs = pty.openpty()
    program = [
        sys.executable,
        str(ROOT / "clients/camera.py"),
        folder / "1.jpg",
        "--server",
        f"127.0.0.1:{server.port}",
        "--user",
        "alice",
    ]
    with subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        screen = b""
        while not screen.endswith(b"Password of alice: "):
            screen += os.read(ours, 1000)
        os.write(ours, b"secret\n")
        while b"1 sent, 1 answered" not in screen:
            screen += os.read(ours, 1000)
        process.wait(timeout=60)
    os.close(ours)
    assert process.returncode == 0 and b"secret" not in screen


def test_an_unknown_model(server, folder):
    code, out, err = run(folder / "1.jpg", "--server", f"127.0.0.1:{server.port}", "-m", "cats")
    assert (code, out) == (2, "")
    assert err == "The server does not take the model 'cats': there is no model 'cats'.\n"


def test_no_server(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    code, out, err = run(folder / "1.jpg", "--server", f"127.0.0.1:{port}")
    assert (code, out) == (3, "")
    assert err.startswith(f"No ImageServer answers at http://127.0.0.1:{port} (")
    assert err.endswith("start it, or give another address.\n")


def test_ctrl_c_still_sums_up(server, folder):
    with start(folder, "--server", f"127.0.0.1:{server.port}", "--loop", "--hz", 50) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert " sent, " in out.splitlines()[-1]


def test_a_reader_that_has_seen_enough(server, folder):
    with start(folder, "--server", f"127.0.0.1:{server.port}", "--loop", "--hz", 50) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in process.stderr.read()
