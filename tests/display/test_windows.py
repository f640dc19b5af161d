"""The windows of -d on a real screen (Xvfb): one for each stream, gone with it, and never in the server's way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import screens
from tests.running import ROOT, Camera, Server, alive, picture, processes, until
from tests.screens import titles


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with screens.screen() as name:
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield name


def brightness(screen: str, target: Path) -> float:
    """Mean grey of the whole screen, 0 to 255."""
    import cv2

    subprocess.run(["import", "-display", screen, "-window", "root", str(target)], check=True)
    return float(cv2.imread(str(target)).mean())


def test_each_stream_has_a_window_which_goes_with_it(screen: str, tmp_path: Path) -> None:
    with Server("-d", data=tmp_path) as server:
        server.ready()
        with Camera(server) as first, Camera(server) as second:
            for camera in (first, second):
                assert camera.login("alice", "x")
            with Camera(server) as third:
                assert third.login("bob", "x")

                def all_shown() -> bool:
                    for camera in (first, second, third):
                        camera.ask(picture(250, 320, 240))
                    return titles() == {"alice", "alice (2)", "bob"}

                until(all_shown, "three windows")
                assert brightness(screen, tmp_path / "screen.png") > 20, "bright pictures are on the screen"
            until(lambda: titles() == {"alice", "alice (2)"}, "bob's window to close")
            first.ask(picture())
        until(lambda: titles() == set(), "all windows to close")
        assert alive(processes(server, "display.process")[0])


def test_a_window_closed_by_hand_hides_its_stream(screen: str, tmp_path: Path) -> None:
    with Server("-d", data=tmp_path) as server, Camera(server.ready()) as camera:
        assert camera.login("alice", "x")

        def shown() -> bool:
            camera.ask(picture(200))
            return titles() == {"alice"}

        until(shown, "the window")
        subprocess.run(["xdotool", "search", "--name", "^alice$", "windowclose"], check=True)
        until(lambda: titles() == set(), "the window to go")
        for _ in range(5):
            assert "label" in camera.ask(picture(100))
        assert titles() == set()


def test_a_name_with_a_number_in_it_keeps_its_window(screen: str, tmp_path: Path) -> None:
    """Numbers tell the windows of one name apart; names may look like that."""
    with Server("-d", data=tmp_path) as server, Camera(server.ready()) as camera:
        assert camera.login("alice (x)", "x")

        def window() -> str:
            camera.ask(picture(200))
            found = subprocess.run(
                ["xdotool", "search", "--onlyvisible", "--name", "^alice .x.$"],
                capture_output=True,
                text=True,
                check=False,
            )
            return found.stdout.strip()

        first = until(window, "the window")
        for _ in range(10):
            assert window() == first, "closed and opened again"


def test_a_killed_server_leaves_no_window(screen: str, tmp_path: Path) -> None:
    with Server("-d", data=tmp_path) as server, Camera(server.ready()) as camera:

        def shown() -> set[str]:
            camera.ask(picture())
            return titles()

        until(shown, "a window")
        process = processes(server, "display.process")[0]
        server.process.kill()
        server.process.wait()
        until(lambda: not alive(process) and not titles(), "the display's end")


@pytest.mark.parametrize(
    ("name", "words"), [("", "there is no screen here: set DISPLAY"), (":9999", "DISPLAY=:9999 does not answer")]
)
def test_without_a_screen_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, words: str
) -> None:
    monkeypatch.setenv("DISPLAY", name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with Server("-d", data=tmp_path) as server, Camera(server.ready()) as camera:
        server.wait_for(words)
        assert camera.ask(picture(9))["label"] == "9"
        assert server.text.count("-d: ") == 1
    assert (ROOT / ".venv-display").is_dir()
