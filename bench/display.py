"""What the windows of -d cost: ages of predictions with them and without, on a screen that is not there (Xvfb).

    python bench/display.py [--cameras 4] [--hz 10] [--seconds 5] [--rounds 5] [--model faces] [--check]

Two real servers, one with -d, that take turns; cameras over Socket.IO send a photograph at a fixed rate. The age is
what the server says in each prediction: from the last byte of the frame to the answer. With --check: exit code 1 when
the median over rounds of the ratio of median ages is 1.2 or more, or when no window was open.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import cv2
from tests.running import Camera, Server, children, until

MARK = 1.2
PHOTO = ROOT / "clients" / "samples" / "photos"


def photograph() -> bytes:
    """A photograph of 640x480 as a camera app sends it."""
    path = next(path for path in sorted(PHOTO.iterdir()) if path.suffix in (".jpg", ".png"))
    done, data = cv2.imencode(".jpg", cv2.resize(cv2.imread(str(path)), (640, 480)), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return data.tobytes()


def screen(stack: ExitStack) -> str:
    """Start a screen; its name."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1920x1080x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    os.close(write)
    with os.fdopen(read) as pipe:
        return f":{pipe.readline().strip()}"


def ages(cameras: list[Camera], frame: bytes, hz: float, seconds: float) -> list[float]:
    """Let all cameras send for a while; milliseconds of each prediction but those of the first second."""
    stop = threading.Event()

    def send(camera: Camera, offset: float) -> None:
        due = time.monotonic() + offset
        while not stop.wait(max(0.0, due - time.monotonic())):
            camera.send(frame)
            due += 1 / hz

    for camera in cameras:
        camera.predictions.clear()
    threads = [
        threading.Thread(target=send, args=(camera, index / hz / len(cameras))) for index, camera in enumerate(cameras)
    ]
    for thread in threads:
        thread.start()
    time.sleep(1)
    skipped = [len(camera.predictions) for camera in cameras]
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return [
        found["age_ms"] for camera, count in zip(cameras, skipped, strict=True) for found in camera.predictions[count:]
    ]


def windows(name: str) -> int:
    """How many windows are open on the screen."""
    command = ["xdotool", "search", "--onlyvisible", "--name", "^bench"]
    return len(
        subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "DISPLAY": name}, check=False
        ).stdout.split()
    )


def cameras_of(stack: ExitStack, options: argparse.Namespace, arguments: tuple[str, ...]) -> list[Camera]:
    """Cameras that are logged in at a server of their own with these arguments."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = stack.enter_context(Server(*arguments, data=folder, models=None, model=options.model)).ready()
    cameras = [stack.enter_context(Camera(server)) for _ in range(options.cameras)]
    for camera in cameras:
        camera.login("bench", "x")
    assert children(server.process.pid)
    return cameras


def compare(servers: dict[str, list[Camera]], frame: bytes, options: argparse.Namespace) -> list[float]:
    """Let the servers take turns and print each round; the ratios of the median ages."""
    print(f"{'round':>5} {'without -d':>22} {'with -d':>22} {'ratio':>6}   (age p50, p95)")
    ratios = []
    for number in range(options.rounds):
        order = list(servers) if number % 2 == 0 else list(servers)[::-1]
        found = {kind: ages(servers[kind], frame, options.hz, options.seconds) for kind in order}
        shown = {
            kind: f"{statistics.median(each):.1f}, {statistics.quantiles(each, n=20)[-1]:.1f} ms"
            for kind, each in found.items()
        }
        ratios.append(statistics.median(found["with -d"]) / statistics.median(found["without"]))
        print(f"{number + 1:>5} {shown['without']:>22} {shown['with -d']:>22} {ratios[-1]:>6.2f}", flush=True)
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--hz", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="faces")
    parser.add_argument("--check", action="store_true", help="fail when the mark is missed")
    options = parser.parse_args()
    missing = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
    if missing or not (ROOT / ".venv-display").exists():
        what = " and ".join(missing) or "the environment of the windows"
        print(f"This needs {what}: scripts/apt-packages.sh and make display.")
        return 0
    frame = photograph()
    with ExitStack() as stack:
        os.environ["DISPLAY"] = name = screen(stack)
        servers = {
            "without": cameras_of(stack, options, ()),
            "with -d": cameras_of(stack, options, ("-d",)),
        }
        for cameras in servers.values():
            ages(cameras, frame, options.hz, 1)
        until(lambda: windows(name) == options.cameras, "the windows")
        rates = f"{options.cameras} cameras, {options.hz:g} frames/s each"
        print(f"{rates}, 640x480, {len(frame) / 1000:.0f} KB, model {options.model}\n")
        ratios = compare(servers, frame, options)
        open_windows = windows(name)
    ratio = statistics.median(ratios)
    print(f"\nmedian ratio {ratio:.2f} (mark: below {MARK:g}); {open_windows} windows were open")
    return 1 if options.check and (ratio >= MARK or open_windows != options.cameras) else 0


if __name__ == "__main__":
    sys.exit(main())
