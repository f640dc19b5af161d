"""What people are told by each client program when it cannot work: one sentence, with the value and what to type."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.passwords import CHEAP
from tests.running import ROOT, CheapServer, Server, until

import capture
from imageserver.accounts.database import ROLES, UserDB
from imageserver_client.errors import SourceError

PHOTO = str(ROOT / "clients" / "samples" / "photos" / "coffee.jpg")
WORDS = {
    "camera": [PHOTO, "--server", "{}"],
    "session": ["--server", "{}"],
    "snap": ["--server", "{}"],
    "nn_client": ["{}", "list_nn"],
}
"""How each program is started on a server's address."""


def test_two_programs_need_nothing_but_python(closed: str) -> None:
    for words in (["nn_client.py", closed, "list_nn"], ["xray.py", PHOTO, "--server", closed]):
        command = [sys.executable, "-S", str(ROOT / "clients" / words[0]), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 3, done.stderr


def run(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "clients" / f"{program}.py"), *words]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        env={"PATH": os.environ["PATH"], **environment},
        check=False,
    )


def told(program: str, address: str, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code and the one line on standard error of a program that is started on a server."""
    done = run(program, *[word.format(address) for word in WORDS[program]], *words, **environment)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == "" or "refused" not in done.stdout
    return done.returncode, done.stderr.removeprefix(f"{program}.py: ").removesuffix("\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def tokens(data: Path) -> dict[str, str]:
    """Users in the data folder, each with a token: alice with every role, one who only looks, one who is bound."""
    users = UserDB(data / "users.db", CHEAP)
    users.add("alice", "secret", roles=ROLES)
    users.add("viewer", "secret", roles=["viewer"])
    users.add("bound", "secret", only=["kitchen"])
    return {user.name: users.add_token(user.name)[1] for user in users.list()}


@pytest.fixture(scope="module")
def server(data: Path, tokens: dict[str, str]) -> Iterator[Server]:
    options = ("-a", "--https-port", "0", "--tcp-port", "0", "--session-models", "sleeper", "--merge-deadline", "30s")
    with CheapServer(*options, data=data) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def secure(server: Server) -> str:
    return server.wait_for(r"https as well, on https://(\S+)$")[1]


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("program", WORDS)
def test_no_server(closed: str, program: str) -> None:
    code, sentence = told(program, closed)
    assert code == 3
    assert re.fullmatch(
        rf"No ImageServer answers at http://{closed} \(Connection refused\): start it, or give another address\.",
        sentence,
    )


@pytest.mark.parametrize("program", WORDS)
def test_no_such_host(program: str) -> None:
    code, sentence = told(program, "nowhere.invalid:8080")
    assert code == 3
    assert sentence.startswith("There is no host nowhere.invalid (")
    assert sentence.endswith("): is the address right?")


@pytest.mark.parametrize("program", WORDS)
def test_no_address(program: str) -> None:
    code, sentence = told(program, "here:and:there")
    assert (code, sentence) == (2, "'here:and:there' is no address: give host:port, such as 192.168.1.20:8080.")


@pytest.mark.parametrize("program", WORDS)
def test_a_certificate_that_nobody_vouches_for(secure: str, program: str) -> None:
    assert told(program, f"https://{secure}") == (
        3,
        f"The certificate of https://{secure} is not trusted (self-signed certificate in certificate chain): "
        "give it with --ca FILE, or --insecure to trust it unseen.",
    )


@pytest.mark.parametrize("program", WORDS)
def test_a_certificate_file_that_is_none(secure: str, program: str) -> None:
    assert told(program, secure, "--ca", "nowhere.pem") == (2, "There is no file nowhere.pem, which --ca names.")
    code, sentence = told(program, secure, "--ca", PHOTO)
    assert code == 2
    assert sentence.startswith(f"{PHOTO}, which --ca names, is no PEM file with a certificate (")


@pytest.mark.parametrize("program", WORDS)
def test_plain_http_where_https_is_spoken(secure: str, program: str) -> None:
    code, sentence = told(program, secure, CAMERA_PASSWORD="secret")
    assert code == 3
    assert sentence.startswith(f"http://{secure} does not answer as an ImageServer does (")
    assert sentence.endswith("): if it speaks HTTPS, write https:// before the address.")


@pytest.mark.parametrize("program", WORDS)
def test_https_where_plain_http_is_spoken(server: Server, program: str) -> None:
    code, sentence = told(program, f"127.0.0.1:{server.port}", "--insecure")
    assert code == 3
    assert sentence == (
        f"https://127.0.0.1:{server.port} does not speak HTTPS: "
        "write http:// before the address and leave out --ca and --insecure, or start the server with -s."
    )


@pytest.mark.parametrize("program", WORDS)
def test_the_port_of_another_protocol(server: Server, program: str) -> None:
    address = server.wait_for(r"legacy TCP listening on (\S+)")[1]
    code, sentence = told(program, address)
    assert code == 3
    assert sentence.startswith(f"http://{address} does not answer as an ImageServer does (")


def test_http_is_no_x_ray_server(server: Server) -> None:
    address = f"127.0.0.1:{server.port}"
    done = run("xray", PHOTO, "--server", address, "--timeout", "1")
    assert (done.returncode, done.stderr) == (
        3,
        f"xray.py: {address} accepts connections but does not greet within 1 s: "
        "is it the legacy TCP port (default 50022)?\n",
    )


WANTED = (
    "The server wants a user's name and password: give --user NAME; "
    "the password is asked for, or taken from CAMERA_PASSWORD or --password. A token does as well: --token."
)


@pytest.mark.parametrize("words", [[], ["-m", "echo"]], ids=["frames", "model"])
def test_a_camera_without_a_user_is_told_what_to_type(server: Server, words: list[str]) -> None:
    address = f"127.0.0.1:{server.port}"
    assert told("camera", address, *words) == (2, WANTED)
    assert run("camera", PHOTO, "--server", address, "--user", "alice", CAMERA_PASSWORD="secret").returncode == 0


def test_others_without_a_user_as_well(server: Server) -> None:
    address = f"127.0.0.1:{server.port}"
    assert told("snap", address) == (2, WANTED)
    assert told("session", address) == (
        2,
        WANTED.replace("The server", "The server starts no session: it", 1).replace(
            "give --user NAME", "give --user NAME, or the server's key with --key"
        ),
    )


@pytest.mark.parametrize("program", ["camera", "session", "snap"])
def test_a_wrong_password(server: Server, program: str) -> None:
    code, sentence = told(program, f"127.0.0.1:{server.port}", "--user", "alice", CAMERA_PASSWORD="wrong")
    assert code == 2
    assert re.fullmatch(r"The server does not let 'alice' in: the (name|user) or the password is wrong\.", sentence)


@pytest.mark.parametrize("program", ["camera", "session"])
def test_a_token_and_the_name_of_a_camera(server: Server, tokens: dict[str, str], program: str) -> None:
    address = ("--server", f"127.0.0.1:{server.port}", "--json")
    for words, token, camera in ((["--name", "front door"], "alice", "front door"), ([], "bound", "kitchen")):
        done = run(program, PHOTO, *address, *words, CAMERA_TOKEN=tokens[token])
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout.splitlines()[0])["camera"] == camera
    named = (PHOTO, *address, "--name", "garden")
    refused = [run(program, *named, "--token", tokens["bound"])]
    refused += [run(program, *named, "--user", "bound", CAMERA_PASSWORD="secret")]
    for done in refused:
        assert done.returncode == 2, done.stdout
        assert re.fullmatch(r"The server does not let ('bound'|you) in: there is no camera 'garden'\.\n", done.stderr)


@pytest.mark.parametrize("program", ["camera", "session"])
def test_a_wrong_token(server: Server, tokens: dict[str, str], program: str) -> None:
    address = f"127.0.0.1:{server.port}"
    sentence = "The server does not let you in: the token is wrong."
    assert told(program, address, "--token", tokens["alice"][:-4] + "0000") == (2, sentence)
    both = "A token stands for its user: give --token or --user, not both."
    assert told(program, address, "--token", "x", "--user", "alice") == (2, both)


def test_a_camera_of_a_user_who_may_not_send_pictures(server: Server, tokens: dict[str, str]) -> None:
    address, role = f"127.0.0.1:{server.port}", "this takes a user with the role camera or admin"
    sentence = f"The server does not let 'viewer' in: {role}."
    assert told("camera", address, "--user", "viewer", CAMERA_PASSWORD="secret") == (2, sentence)
    assert told("session", address, "--token", tokens["viewer"]) == (2, f"The server starts no session: {role}.")


def test_rest_with_a_wrong_password(server: Server) -> None:
    assert told("nn_client", f"127.0.0.1:{server.port}", "--password", "wrong") == (
        1,
        "The server does not let 'test_nn' in: the name or the password is wrong: "
        "give --login NAME, and NN_PASSWORD or --password.",
    )


# ---- cameras -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["camera", "session"])
def test_a_webcam_that_is_not_there_is_one_sentence(closed: str, program: str) -> None:
    done = run(program, "99", "--server", closed)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "There is no webcam 99 here, or it is in use, or this user may not open it.\n"


def test_nor_does_a_capture_device_say_more(server: Server) -> None:
    room = ("--server", f"127.0.0.1:{server.port}", "-u", "alice", "--room", "none")
    command = [sys.executable, str(ROOT / "clients/capture.py"), *room, "--source", "99"]
    environment = {"PATH": os.environ["PATH"], "CAMERA_PASSWORD": "secret"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as device:
        assert device.stdout is not None
        assert device.stderr is not None
        assert device.stdout.readline().startswith("Waiting for snap")
        until(lambda: run("snap", *room, "--wait", "0.1", CAMERA_PASSWORD="secret").returncode == 1, "a snap")
        first = device.stderr.readline()
        device.terminate()
    assert first == "There is no webcam 99 here, or it is in use, or this user may not open it.\n"


def test_a_folder_that_is_not_there(closed: str, tmp_path: Path) -> None:
    done = run("capture", "--server", closed, "--folder", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"There is no folder {tmp_path}/none, which --folder names: make it, or give another.\n"


def test_a_picture_that_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path / capture.PICTURE).mkdir()
    with pytest.raises(SourceError, match=re.escape(f"The picture cannot be saved in {tmp_path}: Is a directory.")):
        capture.capture("127.0.0.1:9", source=PHOTO, folder=tmp_path)


def test_a_network_camera_that_is_not_there(closed: str) -> None:
    began = time.monotonic()
    done = run("camera", f"rtsp://root:pass@{closed}/axis-media", "--server", closed)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"The camera rtsp://{closed}/axis-media does not answer, or sends nothing that OpenCV can read: "
        "check the address, and its name and password.\n"
    )
    assert time.monotonic() - began < 30


def test_a_scheme_that_no_camera_has(closed: str) -> None:
    done = run("camera", "ftp://example.org/a.jpg", "--server", closed)
    assert done.returncode == 2
    assert done.stderr == (
        "ftp://example.org/a.jpg is no source: give rtsp://, rtsps://, http:// or https:// for a network camera.\n"
    )
