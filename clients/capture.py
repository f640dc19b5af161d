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

    bootstrap.ensure_environment(("websocket", "cv2"))

import argparse
import time
from collections.abc import Sequence
from typing import Any

from client_programs.command import Login, add_name_option, add_server_options, ended, login_of, trust_of
from client_programs.relay import Room, delays
from client_programs.report import describe
from client_programs.rest import Rest
from client_programs.sources import open_capture, open_webcam, opencv, without_password
from imageserver_client.connection import TRUST, Token, Trust, url_of
from imageserver_client.errors import Refused, SourceError, Unreachable, Wrong

CameraError = SourceError  # as programs that stand on this one call it
PICTURE = "opencv_frame_0.png"
SETTLE = 2.0
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def wait_for_snap(
    server: str,
    room: str = "",
    login: Login | Token | None = None,
    timeout: float | None = None,
    trust: Trust = TRUST,
    camera: str = "",
) -> bool:
    """Wait until somebody in the room says `snap`; False when `timeout` seconds pass before. Refused, Unreachable."""
    with Room(server, room, login, trust, camera) as relay:
        return any(text.strip().lower() == "snap" for text in relay.texts(timeout))


def take(source: str | int, settle: float = SETTLE) -> bytes:
    """A picture as PNG.

    Args:
        source: a camera by its number or URL, or a picture or video file.
        settle: seconds that a camera gets for exposure and white balance.

    Raises:
        CameraError: no picture can be taken.
    """
    cv2 = opencv()
    if isinstance(source, str) and source.lower().endswith(SUFFIXES):
        pixels = cv2.imread(source)
        if pixels is None:
            raise CameraError(f"{source} is no picture that can be read.")
    else:
        pixels = _newest(open_webcam(source), settle) if isinstance(source, int) else _newest(open_capture(source))
        if pixels is None:
            name = without_password(str(source))
            raise CameraError(f"Camera {name} gives no picture: is it there, and does nothing else use it?")
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise CameraError("OpenCV could not write the picture as PNG.")
    return bytes(data)


def _newest(camera: Any, settle: float = 0.0) -> Any:
    """The pixels that a capture gives after `settle` seconds of reading, without which it does not settle; or None."""
    end = time.monotonic() + settle
    try:
        taken, pixels = camera.read()
        while taken and time.monotonic() < end:
            taken, pixels = camera.read()
    finally:
        camera.release()
    return pixels if taken else None


def capture(
    server: str,
    identity: int = 1,
    source: str | int = 0,
    *,
    settle: float = SETTLE,
    model: str | None = None,
    room: str = "",
    login: Login | Token | None = None,
    folder: Path = Path(),
    trust: Trust = TRUST,
    camera: str = "",
) -> dict[str, Any]:
    """Take a picture, save it as `opencv_frame_0.png` in `folder`, put it on the server.

    Args:
        server: `host:port` or a URL.
        identity: this device's number.
        source, settle: see `take`.
        model: the model to ask; None: the server's default.
        room: the room that hears of it; "": the common one.
        login: name and password, or a token, for a server that asks.
        folder: where the picture is saved.
        trust: whom to believe over HTTPS.
        camera: the camera's name, which the answer carries; "": none.

    Returns:
        The server's answer: `{"id": …, "prediction": {…}, "received": …}`.

    Raises:
        CameraError: no picture can be taken, or saved.
        Refused: the server does not take the picture.
        Unreachable: there is no such server.
    """
    picture = take(source, settle)
    try:
        (folder / PICTURE).write_bytes(picture)
    except OSError as error:
        raise CameraError(f"The picture cannot be saved in {folder}: {error.strerror}.") from error
    return Rest(server, login, trust).put_snippet(identity, picture, model, room, camera)


def run(options: argparse.Namespace) -> int:
    """Until Ctrl-C, or `--count` pictures: wait, take, put, print; reconnect whenever the connection is lost. Wrong."""
    if not options.folder.is_dir():
        raise Wrong(f"There is no folder {options.folder}, which --folder names: make it, or give another.")
    login, trust = login_of(options), trust_of(options)
    url = url_of(options.server, trust)
    left = options.count
    pauses = delays()
    while left is None or left > 0:
        try:
            with Room(options.server, options.room, login, trust, options.name) as relay:
                print(f"Waiting for snap at {url}.", flush=True)
                pauses = delays()
                for text in relay.texts():
                    if text.strip().lower() == "snap":
                        shoot(options, login, trust)
                        left = None if left is None else left - 1
                        if left == 0:
                            return 0
        except (Refused, Unreachable) as error:
            pause = next(pauses)
            print(f"{error} Trying again in {pause:.1f} s.", file=sys.stderr, flush=True)
            time.sleep(pause)
    return 0


def shoot(options: argparse.Namespace, login: Login | Token | None, trust: Trust) -> None:
    """One picture; what goes wrong is printed, and the next snap is another chance."""
    source = int(options.source) if options.source.isdigit() else options.source
    try:
        answer = capture(
            options.server,
            options.id,
            source,
            settle=options.settle,
            model=options.model,
            room=options.room,
            login=login,
            folder=options.folder,
            trust=trust,
            camera=options.name,
        )
    except (CameraError, Refused, Unreachable) as error:
        print(error, file=sys.stderr, flush=True)
        return
    print(f"Picture {answer['id']}: {describe(answer['prediction'])}", flush=True)


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Waits for snap, takes a picture, and puts it on the server.")
    add_server_options(parser)
    add_name_option(parser)
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return ended(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
