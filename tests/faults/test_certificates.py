"""Certificates that are wrong, that expire and that are replaced, while cameras stream over TLS."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.certificates import made, shown
from tests.faults.load import Cameras
from tests.running import ROOT, TEST_MODELS, Server, alive, until

from imageserver.app import certificates

ROW = pytest.mark.fault(
    "certificate and key mismatched, expired, replaced",
    "the old pair serves on; SIGHUP and a change on the disk load the new one without dropping anybody",
)
AUTHORITY = pytest.mark.fault(
    "a self-made certificate", "no authority for other names: its key signs nothing, the authority's key is gone"
)
Tell = Callable[[str], None]


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[Server, int, Path, Path]]:
    """A server with a certificate of somebody's; it, its port for TLS, and the two files."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    made().write(cert, key)
    (folder / "data").mkdir()
    with Server(*arguments, "--hz", "50", "--cert", str(cert), "--key", str(key), data=folder / "data") as server:
        server.wait_for("models ready: echo")
        beside = server.find(r"https as well, on https://\S+:(\d+)")
        yield server, int(beside[1]) if beside else server.port, cert, key


def seconds_until(condition: Callable[[], bool], what: str) -> float:
    begun = time.monotonic()
    until(condition, what)
    return time.monotonic() - begun


@ROW
@pytest.mark.parametrize("port", ["--https-port=0", pytest.param("-s", marks=pytest.mark.long)])
def test_the_old_pair_serves_on_and_a_new_one_is_loaded(tmp_path: Path, tell: Tell, port: str) -> None:
    with (
        serving(tmp_path, port) as (server, tls_port, cert, key),
        Cameras(tls_port, count=4, hz=10, tls=True) as cameras,
    ):
        quiet = cameras.settle().during(0.5)
        first, second, third = shown(tls_port), made(), made(kind="rsa")

        key.write_bytes(second.key)  # as by `cp`: for a moment they do not belong together
        server.wait_for(
            r"warning: \S+cert.pem and \S+key.pem cannot be used: the key is not that of the certificate; .* serves on$"
        )
        assert shown(tls_port) == first
        cert.write_bytes(second.cert)
        by_itself = seconds_until(lambda: shown(tls_port) == second.seen, "the new certificate")
        assert by_itself < 10

        made(begins=-9, ends=-1).write(cert, key)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"cert.pem expired on .* serves on$")
        third.write(cert, key)
        server.process.send_signal(signal.SIGHUP)
        asked = seconds_until(lambda: shown(tls_port) == third.seen, "the third certificate")
        assert asked < 3
        figures = cameras.figures()
    assert server.text.count("the key is not that of the certificate") == 1
    assert figures.lost == 0 and not figures.errors and figures.answered > quiet.answered
    tell(
        f"{figures.lost} of 4 connections lost, loaded {by_itself:.1f} s after the change, "
        f"{1000 * asked:.0f} ms after SIGHUP, ages p99 {figures.age(0.99):.0f} ms ({quiet.age(0.99):.0f} quiet)"
    )


@ROW
@pytest.mark.long
def test_as_certbot_and_kubernetes_replace_them(tmp_path: Path, tell: Tell) -> None:
    """Fifty times by a link for each file, fifty by one for both; somebody always shakes hands."""
    with (
        serving(tmp_path, "--https-port=0") as (server, port, _cert, _key),
        Cameras(port, count=4, hz=10, tls=True) as cameras,
    ):
        cameras.settle()
        known, strangers = {shown(port)}, 0
        for number in range(100):
            new, folder = made(), tmp_path / f"version{number}"
            folder.mkdir()
            known.add(new.seen)
            (folder / "cert.pem").write_bytes(new.cert)
            (folder / "key.pem").write_bytes(new.key)
            links = {name: folder / name for name in ("cert.pem", "key.pem")}
            if number >= 50:
                links = {"current": folder} | {name: tmp_path / "current" / name for name in links}
            for name, target in links.items():
                _link(tmp_path / name, target)
                strangers += shown(port) not in known
            if number % 10 == 9:
                server.process.send_signal(signal.SIGHUP)
                until(lambda: shown(port) == new.seen, "the newest certificate")  # noqa: B023
        figures = cameras.figures()
    assert (figures.lost, strangers) == (0, 0) and not figures.errors
    tell(f"pairs replaced 100 times by links: {figures.lost} of 4 connections lost, every handshake got a whole pair")


def _link(path: Path, target: Path) -> None:
    new = path.with_name(path.name + ".link")
    new.symlink_to(target)
    os.replace(new, path)


@ROW
@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("empty", "there is no certificate, or no key"),
        ("half", "cannot be used"),
        ("gone", "there is no certificate"),
        ("folder", "it is no regular file"),
        ("later", "is not valid before"),
        ("pipe", "it is no regular file"),
    ],
)
def test_what_cannot_be_used_changes_nothing(tmp_path: Path, tell: Tell, fault: str, words: str) -> None:
    with serving(tmp_path, "--https-port=0") as (server, port, cert, key):
        before = shown(port)
        _break(cert, key, fault)
        server.wait_for(f"{words}.* serves on$")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.text.count(words) == 2, "the sentence again, since somebody asked")
        assert shown(port) == before
        new = made()
        if cert.is_dir():
            cert.rmdir()
        new.write(cert, key)
        until(lambda: shown(port) == new.seen, "the repaired certificate")
    tell(f"{fault}: the old pair served on")


def _break(cert: Path, key: Path, fault: str) -> None:
    content = cert.read_bytes()
    if fault in ("gone", "folder", "pipe"):
        cert.unlink()
    if fault == "folder":
        cert.mkdir()
    elif fault == "pipe":
        os.mkfifo(cert)
    elif fault in ("empty", "half"):
        cert.write_bytes(content[: len(content) // 2 if fault == "half" else 0])
    elif fault == "later":
        made(begins=5, ends=9).write(cert, key)


@ROW
def test_sighup_ends_neither_server_nor_workers(tmp_path: Path, tell: Tell) -> None:
    """As a terminal sends it to all of them; and where no TLS is spoken it does nothing else."""
    with Server(data=tmp_path) as server:
        workers = server.ready().workers()
        assert workers
        for pid in (*workers, server.process.pid):
            os.kill(pid, signal.SIGHUP)
        server.wait_for("SIGHUP: there is nothing to load: no HTTPS is spoken")
        assert server.get("/health/ready")[0] == 200
        assert server.workers() == workers
    assert server.process.returncode == 0
    tell(f"SIGHUP to the server and {len(workers)} workers: all go on")


@ROW
@pytest.mark.long
@pytest.mark.parametrize("nohup", [False, True])
def test_a_closed_terminal_ends_the_server_that_was_begun_in_it(tmp_path: Path, tell: Tell, nohup: bool) -> None:
    ours, theirs = pty.openpty()
    listening = ["-i", "127.0.0.1", "-p", "0", "--tcp-port", "off", "--data", str(tmp_path)]
    command = [
        sys.executable,
        str(ROOT / "src" / "ImageServer.py"),
        *listening,
        "--models",
        str(TEST_MODELS),
        "-m",
        "echo",
    ]
    # Who runs the tests may ignore SIGHUP, and what they start would, too.
    started = ["env", "--default-signal=HUP", "setsid", "--ctty", *(["nohup"] if nohup else []), *command]
    log = tmp_path / "log"
    with log.open("wb") as lines:
        server = subprocess.Popen(started, stdin=theirs, stdout=lines, stderr=lines, cwd=tmp_path)
    os.close(theirs)
    try:
        until(lambda: "models ready: echo" in log.read_text(), "the models")
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: "SIGHUP: there is nothing to load" in log.read_text(), "an answer to SIGHUP")
        begun = time.monotonic()
        os.close(ours)
        if nohup:
            until(lambda: log.read_text().count("SIGHUP: there is nothing to load") == 2, "an answer to the end")
            assert alive(server.pid)
            server.terminate()
        assert server.wait(30) == 0
        tell(f"{'with nohup the server goes on' if nohup else f'ended {time.monotonic() - begun:.1f} s after'}")
    finally:
        server.kill()
        server.wait()


@AUTHORITY
def test_its_key_signs_nothing(tmp_path: Path, tell: Tell) -> None:
    cert, key = certificates.self_signed(tmp_path, lambda _: None, ["localhost", "127.0.0.1"])
    assert [path.name for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()] == ["key.pem"]
    other = tmp_path / "other.pem"
    for name in ("bank.example", "localhost"):
        request = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -days 9"
        _openssl(*request.split(), "-addext", f"subjectAltName=DNS:{name}", "-CA", cert, "-CAkey", key,
                 "-keyout", tmp_path / "other", "-out", other)  # fmt: skip
        for trusted in (cert, tmp_path / "ca.pem"):
            with pytest.raises(subprocess.CalledProcessError) as refused:
                _openssl("verify", "-CAfile", trusted, "-untrusted", cert, other)
            assert "invalid CA certificate" in refused.value.stderr
    tell("2 names signed with the server's key, none believed by openssl verify")


def _openssl(*arguments: object) -> str:
    ended = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=True)
    return ended.stdout


@AUTHORITY
@pytest.mark.long
def test_curl_believes_it_for_this_machine_alone(tmp_path: Path, tell: Tell) -> None:
    with Server("--https-port", "0", data=tmp_path) as server:
        port = server.wait_for(r"https as well, on https://\S+:(\d+)")[1]
        for trusted in ("cert.pem", "ca.pem"):
            curl = ["curl", "-sS", "--noproxy", "*", "--cacert", str(tmp_path / "tls" / trusted), "-m", "20"]
            for host in ("localhost", "127.0.0.1"):
                ended = subprocess.run([*curl, f"https://{host}:{port}/health/live"], capture_output=True, check=False)
                assert ended.returncode == 0, ended.stderr
            elsewhere = ["--resolve", f"bank.example:{port}:127.0.0.1", f"https://bank.example:{port}/health/live"]
            assert subprocess.run([*curl, *elsewhere], capture_output=True, check=False).returncode == 60
        first = shown(int(port))
        for name in ("cert.pem", "key.pem", "ca.pem"):
            (tmp_path / "tls" / name).unlink()
        server.wait_for(r"are not both there: .* serves on$")
        assert shown(int(port)) == first
        server.process.send_signal(signal.SIGHUP)
        until(lambda: shown(int(port)) != first, "another certificate of its own")
    tell("curl believes it by this machine's names alone; removed, it serves on, and SIGHUP makes another")
