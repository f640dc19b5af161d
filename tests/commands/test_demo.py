"""`imageserver demo`: a server and cameras that stream at it, until somebody ends it; then nothing of it is left."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.demos import Demo
from tests.running import alive, until

from imageserver.commands.demo import main as demo
from imageserver.commands.demo import samples

CAMERAS = ("Portrait", "Video call", "Photo album", "Handwriting")


def test_it_streams_until_ctrl_c(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    (tmp_path / ".env").write_text("IMAGESERVER_AUTH=yes\n")  # somebody's own server is none of its business
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": ""}
    with Demo(tmp_path, BROWSER=str(browser), IMAGESERVER_MODEL="lenet", **home) as running:
        assert running.wait_for(r"first prediction came after ([\d.]+) s")
        for camera in CAMERAS:
            said = running.wait_for(rf"^{camera}: (.*) \((\w+), \d+ ms\)$")
            assert said[2] == ("lenet" if camera == "Handwriting" else "faces")
            assert "nothing found" not in said[1]
        with urllib.request.urlopen(running.url) as answer:
            assert answer.status == 200
        until((tmp_path / "opened").is_file, "the browser")
        until(lambda: len(running.processes()) == 2, "the end of the browser")
        processes = running.processes()
        assert [path.name.rpartition("-")[0] for path in running.temporary.glob("imageserver-demo-*")]
        assert running.end() == 0
    assert (tmp_path / "opened").read_text() == f"{running.url}/\n"
    assert running.lines[-1] == "The demo has ended; nothing of it is left behind."
    assert not any(map(alive, processes)) and not list(running.temporary.iterdir())
    assert not (tmp_path / "home").exists()
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(running.url)


def test_it_ends_with_a_process_that_dies(tmp_path: Path) -> None:
    with Demo(tmp_path, "--no-browser") as running:
        until(lambda: len(running.processes()) == 2, "the cameras")
        server, cameras = running.processes()
        os.kill(server, signal.SIGKILL)
        assert running.process.wait(60) == 1
        assert not alive(cameras)
    said = "imageserver demo: the server ended unasked (signal SIGKILL), and with it the demo: start it again."
    assert said in running.lines and "Traceback" not in str(running.lines)
    assert not list(running.temporary.glob("imageserver-demo-*"))


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = Demo(tmp_path, "-p", str(port))
        running.wait_for("in use")
        assert running.process.wait(60) == 2
        running.end()
    assert running.lines[1:] == [
        f"imageserver demo: port {port} on 127.0.0.1 is in use: stop what uses it, or choose another with -p "
        "(0 = any free one)"
    ]
    assert not list(running.temporary.iterdir())


def test_samples_that_are_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(samples, "DIGITS", tuple(samples.FOLDER / f"no-{digit}.png" for digit in range(10)))
    monkeypatch.setattr(sys, "argv", ["imageserver demo"])
    assert demo.main() == 2
    assert capsys.readouterr().err == (
        f"imageserver demo: sample pictures are missing (no-0.png, no-1.png, no-2.png … in {samples.FOLDER}): run it "
        "from a whole copy of the repository, or from the installed wheel; an image of the server alone has none.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-p 99999", "argument -p/--port: '99999' is not a whole number from 0 to 65,535"),
        ("-i a,b", "argument -i/--ip: 'a,b' is not an IP address, a host name, or localaddr"),
        ("8080", "unrecognized arguments: 8080"),
    ],
)
def test_what_it_does_not_take(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["imageserver demo", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        demo.main()
    assert capsys.readouterr().err.endswith(f"imageserver demo: error: {said}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"ip": "127.0.0.1", "port": 8080}),
        ("--phone -p 0", {"ip": "0.0.0.0", "https_port": 0, "port": 0}),
        ("--phone -i 127.0.0.2", {"ip": "127.0.0.2", "https_port": 0}),
        ("-i 0.0.0.0", {"ip": "0.0.0.0"}),
    ],
)
def test_its_settings(words: str, expected: dict[str, object], tmp_path: Path) -> None:
    given: argparse.Namespace = demo.parser().parse_args(words.split())
    settings = demo.settings(given, tmp_path)
    assert expected.items() <= settings.items() and ("https_port" in settings) == ("https_port" in expected)


def test_a_browser_in_the_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("webbrowser.get", lambda: None)
    assert not demo.has_browser()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert demo.has_browser()
