"""clients/nn_client.py as people use it: words, menu, function, over http and https, with and without a server."""

import importlib.util
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.running import ROOT

from imageserver_client.connection import Trust, url_of

PROGRAM = ROOT / "clients" / "nn_client.py"
SAMPLES = ROOT / "clients" / "samples" / "digits"
specification = importlib.util.spec_from_file_location("nn_client", PROGRAM)
nn_client = importlib.util.module_from_spec(specification)
specification.loader.exec_module(nn_client)


def run(*words, typed=""):
    """The program with the words of a command line and what is typed into it."""
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, words)], input=typed, capture_output=True, text=True, timeout=100
    )


@pytest.fixture
def address(server):
    return f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("localhost:5000", "", "", None)),
        (["10.0.0.5:8080"], ("10.0.0.5:8080", "", "", None)),
        (["list_nn"], ("localhost:5000", "list_nn", "about", None)),
        (["host", "list_nn"], ("host", "list_nn", "about", None)),
        (["lenet", "classify"], ("localhost:5000", "lenet", "classify", None)),
        (["h:1", "lenet", "classify", "a.png"], ("h:1", "lenet", "classify", "a.png")),
        (["h:1", "lenet", "status"], ("h:1", "lenet", "status", None)),
        (["h:1", "lenet", "train", "other"], ("h:1", "lenet", "train", "other")),
    ],
)
def test_words_of_the_command_line(words, expected):
    assert nn_client.split(words) == expected


SENSELESS = ["h lenet", "h lenet dance", "h lenet about x", "h lenet train all", "a b c"]


@pytest.mark.parametrize("words", [words.split() for words in SENSELESS])
def test_words_that_make_no_sense_end_with_2(words):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nn_client.py: ")


@pytest.mark.parametrize(
    ("server_", "secure", "url"),
    [
        ("host", False, "http://host:5000"),
        ("host:80", False, "http://host:80"),
        ("[::1]:80", False, "http://[::1]:80"),
        ("https://host", False, "https://host:5000"),
        ("host", True, "https://host:5000"),
        ("http://host:80/", True, "http://host:80"),
        ("http://host:80/path/", False, "http://host:80/path"),
    ],
)
def test_addresses(server_, secure, url):
    assert url_of(server_, Trust(insecure=secure), nn_client.PORT) == url


@pytest.mark.parametrize("wrong", ["", "ftp://host", "host:port", "host:99999", "a b"])
def test_addresses_that_are_none(wrong):
    with pytest.raises(nn_client.Wrong):
        url_of(wrong)


def test_every_operation(server, address):
    assert "LeNet url:/lenet" in run(address, "list_nn").stdout
    assert run(address, "lenet", "about").stdout.startswith("LeNet: ")
    assert run(address, "lenet", "status").stdout.startswith("accuracy 9")
    done = run(address, "lenet", "classify", SAMPLES / "7.png")
    assert (done.returncode, done.stdout[0]) == (0, "7")
    assert run(address, "lenet", "classify", typed="4\n").stdout.splitlines()[-1].endswith(")")
    assert "4  (" in run(address, "lenet", "classify", typed="4\n").stdout
    assert "2  (" in run(address, "lenet", "classify", typed=f"{SAMPLES / '2.png'}\n").stdout


def test_the_menu(server, address):
    done = run(address, typed="1\n2\n3\n9\n8\nx\n6\n0\n")
    assert done.returncode == 0
    for words in ("LeNet url:/lenet", "LeNet: ", "9  (", "type a number from 0 to 6", "--training-data"):
        assert words in done.stdout
    assert run(address, typed="").returncode == 0


@pytest.mark.parametrize(
    ("words", "typed", "code", "says"),
    [
        (["lenet", "train", "other"], "", 1, "--training-data"),
        (["lenet", "cancel"], "", 1, "no training of lenet runs"),
        (["nothing", "about"], "", 1, "no model 'nothing'"),
        (["lenet", "classify", "absent.png"], "", 2, "absent.png cannot be read"),
        (["lenet", "classify", PROGRAM], "", 1, "no JPEG"),
        (["lenet", "classify"], "", 2, "no input"),
        (["lenet", "about", "--password", "wrong"], "", 1, "password is wrong"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(server, address, words, typed, code, says):
    done = run(address, *words, typed=typed)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_ends_with_3():
    done = run("127.0.0.1:9", "list_nn")
    assert done.returncode == 3
    assert "No ImageServer answers at http://127.0.0.1:9 (Connection refused)" in done.stderr


def test_https(server):
    address = server.secure_url
    assert "LeNet" in run(address, "list_nn", "--ca", server.ca).stdout
    assert "LeNet" in run(address.removeprefix("https://"), "list_nn", "--insecure").stdout
    done = run(address, "list_nn")
    assert done.returncode == 3
    assert "--ca" in done.stderr
    assert run(address, "list_nn", "--ca", PROGRAM).returncode == 2


@pytest.mark.parametrize("how", [("https://{}",), ("{}", "--insecure")], ids=["url", "option"])
def test_https_to_a_port_that_speaks_http(server, address, how):
    done = run(how[0].format(address), "list_nn", *how[1:])
    assert done.returncode == 3
    assert f"https://{address} does not speak HTTPS" in done.stderr
    assert "write http://" in done.stderr


def test_one_function_from_python(server, address):
    found = nn_client.ask(address, "lenet", "classify", SAMPLES / "3.png")
    assert found["number"] == "3"
    assert nn_client.ask(address)["text"]
    assert nn_client.ask(server.secure_url, "lenet", "about", ca=server.ca)["text"]
    with pytest.raises(nn_client.Refused) as caught:
        nn_client.ask(address, "lenet", "cancel")
    assert caught.value.status == 409
    with pytest.raises(nn_client.Unreachable):
        nn_client.ask("127.0.0.1:9")
    with pytest.raises(nn_client.Wrong):
        nn_client.ask(address, "lenet", "classify")


class Trainer(BaseHTTPRequestHandler):
    """A server that plays a training through."""

    EVENTS = (
        {"state": "preparing", "text": "reading the training data"},
        {"state": "training", "text": "epoch 1 of 2", "epoch": 1, "epochs": 2, "part": 0.5},
        {"state": "training", "text": "epoch 2 of 2", "epoch": 2, "epochs": 2, "part": 1.0},
        {"state": "completed", "text": "the new model gets 99.50 %"},
    )

    START = "POST"

    def do_GET(self):
        if self.path != "/lenet/train/events":
            self.start()
            return
        self.send_response(200)
        self.end_headers()
        for event in self.EVENTS:
            self.wfile.write(b": comment\n\ndata: " + json.dumps(event).encode() + b"\n\n")

    def do_POST(self):
        self.start()

    def start(self):
        assert self.path == "/lenet/train?training_sample=other"
        self.send_response(200 if self.command == self.START else 405)
        self.end_headers()
        self.wfile.write(json.dumps({"text": "training has started"}).encode())

    def log_message(self, *_arguments):
        pass


def train_with(handler):
    """The program, while a training runs at a server that is played."""
    with HTTPServer(("127.0.0.1", 0), handler) as trainer:
        thread = threading.Thread(target=trainer.serve_forever, args=(0.01,))
        thread.start()
        try:
            return run(f"127.0.0.1:{trainer.server_port}", "lenet", "train", "other")
        finally:
            trainer.shutdown()
            thread.join()


@pytest.mark.parametrize("heard", [(), Trainer.EVENTS[1:2], Trainer.EVENTS[:3]], ids=len)
def test_a_server_that_stops_during_a_training_is_no_end_of_it(heard):
    class Stopping(Trainer):
        EVENTS = heard

    done = train_with(Stopping)
    assert done.returncode == 3
    assert "before the training's end" in done.stderr
    assert "Traceback" not in done.stderr


class OldTrainer(Trainer):
    """The same, from before trainings were started by POST."""

    START = "GET"


@pytest.mark.parametrize("trainer", [Trainer, OldTrainer])
def test_a_training_is_followed_with_a_bar(trainer):
    done = train_with(trainer)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == "training has started"
    assert lines[2] == "[########                      ]  25%  epoch 1 of 2"
    assert lines[3] == f"[{'#' * 30}] 100%  epoch 2 of 2"
    assert lines[4] == "completed: the new model gets 99.50 %"
