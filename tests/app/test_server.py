"""The server as a process: its lines, its exit codes, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.running import ROOT, TEST_MODELS, Camera, FrontDoor, Server, alive, picture, until

PROGRAM = str(ROOT / "src" / "ImageServer.py")


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = [
        sys.executable,
        PROGRAM,
        "--data",
        str(folder),
        "--tcp-port",
        "off",
        "--models",
        str(TEST_MODELS),
        "-m",
        "echo",
    ]
    return subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=60, cwd=folder, check=False)


def test_the_start_says_where_it_listens_and_what_is_ready(tmp_path: Path) -> None:
    with FrontDoor("--preload", "slow", data=tmp_path) as server:
        assert server.get("/health/live")[0] == 200
        server.ready()
        server.wait_for("models ready: echo, slow")
        assert server.lines[0] == f"({server.process.pid}) wsgi starting up on http://127.0.0.1:{server.port}"
        assert server.get("/health/nix")[0] == 404
        assert "warning" not in server.text


def test_an_open_server_warns_and_names_the_address_for_phones_and_what_it_misses(tmp_path: Path) -> None:
    missing = ("--mnist", "/does/not/exist.npz", "--training-data", "/does/not/exist")
    with FrontDoor("-i", "0.0.0.0", *missing, data=tmp_path) as server:
        server.wait_for(r"warning: anybody who reaches")
        server.wait_for(r"cameras on this network reach it at http://\d+\.\d+\.\d+\.\d+:\d+")
        server.wait_for(r"warning: --mnist: there is no /does/not/exist.npz")
        server.wait_for(r"warning: --training-data: there is no /does/not/exist,")


def test_auth_without_users_says_how_to_add_one(tmp_path: Path) -> None:
    with FrontDoor("-a", data=tmp_path) as server:
        server.wait_for(r"userdb.py add NAME")


SEVERAL = """
import contextlib, io, json, sys
import bootstrap; bootstrap.provide_package()
from imageserver.app import server
said = []
for arguments in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = server.main(arguments)
    said.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""
"""Starts the server several times in one process, since to import it takes most of the time of a start that fails."""


def starts_that_fail(folder: Path, *rows: list[str]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each, with a data folder of its own where the arguments name none."""
    commands = []
    for number, arguments in enumerate(rows):
        data = folder / str(number)
        data.mkdir()
        base = ["-i", "127.0.0.1", "-p", "0", "--tcp-port", "off", "--models", str(TEST_MODELS), "-m", "echo"]
        commands.append([*base, "--data", str(data), *arguments])
    ended = subprocess.run(
        [sys.executable, "-c", SEVERAL],
        input=json.dumps(commands), env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=60, cwd=folder, check=True,
    )  # fmt: skip
    return [(code, out, err) for code, out, err in json.loads(ended.stdout)]


def test_a_wrong_value_costs_one_sentence_and_code_2(tmp_path: Path) -> None:
    rows = [
        (["-p", "70000"], "70000"),
        (["--hz", "-3"], "-3"),
        (["-m", "nix"], "nix"),
        (["--preload", "echo,nix"], "nix"),
        (["--models", "/does/not/exist"], "/does/not/exist"),
        (["-i", "203.0.113.7"], "203.0.113.7"),
        (["--prot", "80"], "--prot"),
        (["--results", "/does/not/exist/file"], "/does/not/exist/file"),
    ]
    ended = run("-i", "127.0.0.1", "-p", "eighty", folder=tmp_path)
    said = [(ended.returncode, ended.stdout, ended.stderr)]
    said += starts_that_fail(tmp_path, *(arguments for arguments, _words in rows))
    for (code, out, err), words in zip(said, ["eighty", *(words for _arguments, words in rows)], strict=True):
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert words in err


def test_users_that_cannot_be_read_cost_one_sentence_and_code_75(tmp_path: Path) -> None:
    """A service manager tries again: they may be put back."""
    rows = {
        "is empty (0 bytes): put back a copy": b"",
        "file is not a database": b"no database at all" * 100,
        "is gone: put it back": None,
    }
    folders = [tmp_path / f"data {number}" for number in range(len(rows))]
    for folder, content in zip(folders, rows.values(), strict=True):
        folder.mkdir()
        if content is None:
            (folder / "users.db").symlink_to(tmp_path / "a disk that is not there")
        else:
            (folder / "users.db").write_bytes(content)
    said = starts_that_fail(tmp_path, *(["-a", "--data", str(folder)] for folder in folders))
    for (code, out, err), words, folder in zip(said, rows, folders, strict=True):
        assert (code, out, len(err.splitlines())) == (75, "", 1), err
        assert str(folder / "users.db") in err
        assert words in err


def test_a_port_in_use_costs_one_sentence_and_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(f"127.0.0.1:{port}", folder=tmp_path)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert re.search(rf"port {port} .*in use", ended.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_code_0_and_takes_the_workers_along(tmp_path: Path, number: signal.Signals) -> None:
    with FrontDoor(data=tmp_path) as server, Camera(server.ready()) as camera:
        assert camera.ask(picture(5))["label"] == "5"
        workers = server.workers()
        assert workers
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
        assert not any(alive(pid) for pid in workers)
        until(lambda: not camera.client.connected, "the client's end")


def test_a_signal_before_anything_is_ready_ends_it_as_well(tmp_path: Path) -> None:
    with FrontDoor(data=tmp_path) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_running_frames_are_answered_before_the_end(tmp_path: Path) -> None:
    with Server(data=tmp_path, model="slow") as server, Camera(server.ready()) as camera:
        camera.ask(picture())
        camera.send(picture())
        until(lambda: server.get("/health/ready")[0] == 200, "the frame to be under way")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: len(camera.predictions) + len(camera.errors) == 2, "the last answer")
        assert server.process.wait(30) == 0


def test_no_worker_outlives_a_killed_server(tmp_path: Path) -> None:
    with Server("--workers", "2", data=tmp_path) as server, Camera(server.ready()) as camera:
        camera.send(picture())
        workers = server.workers()
        assert len(workers) == 2
        server.process.kill()
        server.process.wait()
        until(lambda: not any(alive(pid) for pid in workers), "the workers' end")


def test_a_killed_worker_costs_nobody_the_connection(tmp_path: Path) -> None:
    with Server("--workers", "1", data=tmp_path) as server, Camera(server.ready()) as first, Camera(server) as second:
        stop = threading.Event()

        def stream(camera: Camera) -> None:
            while not stop.wait(0.05):
                camera.send(picture(50))

        threads = [threading.Thread(target=stream, args=(camera,)) for camera in (first, second)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: first.predictions and second.predictions, "predictions")
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            server.wait_for(rf"process {worker}\) ended by signal SIGKILL")
            counts = [len(camera.predictions) for camera in (first, second)]
            until(
                lambda: all(len(c.predictions) > n for c, n in zip((first, second), counts, strict=True)),
                "predictions to resume",
            )
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert first.client.connected
        assert second.client.connected
        seqs = [answer["seq"] for answer in first.predictions]
        assert seqs == sorted(set(seqs)), "each answer once, and never an older one after a newer"


def test_under_overload_all_get_their_share(tmp_path: Path) -> None:
    """Eight cameras send much faster than the model answers: turns are taken, and each is told what was dropped."""
    with Server("--workers", "1", data=tmp_path, model="slow") as server:
        server.ready()
        cameras = [Camera(server) for _ in range(8)]
        try:
            while min(len(camera.predictions) for camera in cameras) < 3:
                for camera in cameras:
                    camera.send(picture(10))
                threading.Event().wait(0.03)
            counts = [len(camera.predictions) for camera in cameras]
            assert max(counts) <= 2 * min(counts), counts
            for camera in cameras:
                dropped = [answer["dropped"] for answer in camera.predictions]
                assert dropped == sorted(dropped)
                assert dropped[-1] > 0
        finally:
            for camera in cameras:
                camera.__exit__()


def test_lines_about_streams_come_while_frames_come(tmp_path: Path) -> None:
    with Server(data=tmp_path) as server, Camera(server.ready()) as camera:
        assert camera.login("alice", "x")
        camera.ask(picture(66, width=64, height=48))
        server.wait_for(r"alice: [\d.]+ frames/s in, [\d.]+ answered, 0 dropped, 64x48, echo: 66 .*age \d+ ms")


def test_it_starts_from_anywhere_with_any_python(tmp_path: Path) -> None:
    """The system's python3 has none of the packages; the program finds the project's environment itself."""
    system = next(
        path for path in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable) if Path(path).exists()
    )
    ended = subprocess.run(
        [system, PROGRAM, "-h"], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "--preload" in ended.stdout


class ServerWithoutResolver(Server):
    """Asked for the machine's full name, the resolver does not answer."""

    command = (
        sys.executable,
        "-c",
        f"import socket, sys, time; sys.path.insert(0, {str(ROOT / 'src')!r}); import bootstrap; bootstrap.start(); "
        "socket.getfqdn = lambda *_: time.sleep(600); "
        "from imageserver.app import server; sys.exit(server.main(sys.argv[1:]))",
    )


@pytest.mark.long
def test_a_resolver_that_does_not_answer_holds_up_neither_start_nor_stop(tmp_path: Path) -> None:
    with ServerWithoutResolver(data=tmp_path) as server:
        server.ready()
    assert server.process.returncode == 0
