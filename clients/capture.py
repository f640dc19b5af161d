#!/usr/bin/env python3
"""A capture device for ImageServer: waits for `snap`, takes a picture, puts it, prints what the model found.

    clients/capture.py --server 10.0.0.5:8080 --id 1            with the first camera
    clients/capture.py --source picture.jpg                     a picture or video file stands in for the camera

It reconnects for ever, after increasing, jittered delays. From Python: `wait_for_snap(server)` returns True when
somebody says snap; `capture(server, 1)` takes and puts one picture and returns the server's answer.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    import bootstrap

    bootstrap.ensure_environment(("websocket", "cv2", "requests"))

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

import requests

from camera_report import describe
from snap_link import TRUST, UNTRUSTED, Room, Trust, Unreachable, add_options, base_url, delays, trust_of

PICTURE = "opencv_frame_0.png"
SETTLE = 2.0
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
Login = tuple[str, str]


class CameraError(Exception):
    """No picture can be taken: one sentence."""


def wait_for_snap(
    server: str, room: str = "", login: Login | None = None, timeout: float | None = None, trust: Trust = TRUST
) -> bool:
    """Wait until somebody in the room says `snap`; False when `timeout` seconds pass before. Unreachable."""
    with Room(server, room, login, trust) as relay:
        return any(text.strip().lower() == "snap" for text in relay.texts(timeout))


def take(source: str | int, settle: float = SETTLE) -> bytes:
    """A picture as PNG, of a camera by its number, or of a picture or video file. CameraError."""
    import cv2

    if isinstance(source, str) and source.lower().endswith(SUFFIXES):
        pixels = cv2.imread(source)
        if pixels is None:
            raise CameraError(f"{source} is no picture that can be read")
    else:
        camera = cv2.VideoCapture(source)
        try:
            if not camera.isOpened():
                raise CameraError(f"camera {source} cannot be opened: is it connected, and not in use?")
            end = time.monotonic() + (settle if isinstance(source, int) else 0.0)
            taken, pixels = camera.read()  # exposure and white balance settle only while frames are read
            while taken and time.monotonic() < end:
                taken, pixels = camera.read()
        finally:
            camera.release()
        if not taken:
            raise CameraError(f"camera {source} gives no picture")
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise CameraError("the picture cannot be written as PNG")
    return data.tobytes()


def capture(
    server: str,
    identity: int = 1,
    source: str | int = 0,
    *,
    settle: float = SETTLE,
    model: str | None = None,
    room: str = "",
    login: Login | None = None,
    folder: Path = Path(),
    trust: Trust = TRUST,
) -> dict[str, Any]:
    """Take a picture, save it as `opencv_frame_0.png` in `folder`, put it; returns the server's answer. CameraError, Unreachable."""
    picture = take(source, settle)
    (folder / PICTURE).write_bytes(picture)
    url = f"{base_url(server, trust)}/snippets/{identity}/"
    options = {name: value for name, value in (("model", model), ("room", room)) if value}
    try:
        files = {"file": (PICTURE, picture, "image/png")}
        believed: bool | str = not trust.insecure and (trust.ca or True)
        answer = requests.put(url, files=files, params=options, auth=login, timeout=60, verify=believed)
    except requests.exceptions.SSLError:
        raise Unreachable(f"{url}: its certificate is not trusted: {UNTRUSTED}") from None
    except requests.RequestException as error:
        raise Unreachable(f"{url} cannot be reached ({type(error).__name__})") from None
    found: dict[str, Any] = (
        answer.json() if answer.headers.get("Content-Type", "").startswith("application/json") else {}
    )
    if answer.status_code != 200:
        raise Unreachable(f"{url} answers {answer.status_code}: {found.get('error', answer.reason)}")
    return found


def run(options: argparse.Namespace, login: Login | None) -> None:
    """Until Ctrl-C, or `--count` pictures: wait, take, put, print; reconnect whenever the connection is lost."""
    left = options.count
    pauses = delays()
    while left is None or left > 0:
        try:
            with Room(options.server, options.room, login, options.trust) as relay:
                print(f"Waiting for snap at {base_url(options.server, options.trust)}.", flush=True)
                pauses = delays()
                for text in relay.texts():
                    if text.strip().lower() == "snap":
                        shoot(options, login)
                        left = None if left is None else left - 1
                        if left == 0:
                            return
        except Unreachable as error:
            pause = next(pauses)
            print(f"{error}; trying again in {pause:.1f} s.", file=sys.stderr, flush=True)
            time.sleep(pause)


def shoot(options: argparse.Namespace, login: Login | None) -> None:
    """One picture; what goes wrong is printed, and the next snap is another chance."""
    source = int(options.source) if options.source.isdigit() else options.source
    chosen = {
        "settle": options.settle,
        "model": options.model,
        "room": options.room,
        "folder": options.folder,
        "trust": options.trust,
    }
    try:
        answer = capture(options.server, options.id, source, login=login, **chosen)
    except (CameraError, Unreachable) as error:
        print(error, file=sys.stderr, flush=True)
        return
    print(f"Picture {answer['id']}: {describe(answer['prediction'])}", flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="capture.py", description="Waits for snap, takes a picture, and puts it on the server."
    )
    add_options(parser)
    parser.add_argument("--id", type=int, metavar="N", default=1, help="this device's number (default 1)")
    parser.add_argument(
        "--source", metavar="SOURCE", default="0", help="number of the camera, or a picture or video file (default 0)"
    )
    parser.add_argument(
        "--settle",
        type=float,
        metavar="S",
        default=SETTLE,
        help="seconds for the camera to settle (default %(default)g)",
    )
    parser.add_argument("-m", "--model", metavar="NAME", help="model to ask for (default: the server's)")
    parser.add_argument("--room", metavar="ROOM", default="", help="room to listen in (default: the common one)")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", default=Path(), help=f"where {PICTURE} is saved (default: here)"
    )
    parser.add_argument("--count", type=int, metavar="N", help="stop after N pictures")
    options = parser.parse_args(arguments)
    options.trust = trust_of(parser, options)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    login = (options.user, os.environ.get("CAMERA_PASSWORD", "")) if options.user else None
    try:
        run(options, login)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
