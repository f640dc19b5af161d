#!/usr/bin/env python3
"""Asks ImageServer's legacy TCP port whether chest X-rays show pneumonia. Not for clinical use.

    clients/xray.py picture.jpg                          the ensemble of all models, at 127.0.0.1:50022
    clients/xray.py *.png -m all --server 10.0.0.5       every model, one line each
    clients/xray.py picture.jpg -m INCE --sign ~/.ssh/id_ed25519

Also a module: `with Xray("10.0.0.5") as xray: xray.send(data); xray.ask("INCE")`. Standard library only; --sign runs ssh-keygen.

Exit code: 0 when all went well, 1 when a picture got no answer, 2 when something given is wrong or refused, 3 when the
server is not there or went away, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import hashlib
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

MODELS = {
    "INCE": "Inception",
    "DENS": "DenseNet",
    "MYCN": "the project's own CNN",
    "VGG!": "VGG",
    "XCEP": "Xception",
    "RESN": "ResNet",
    "ENSE": "ensemble of all",
}
DISCLAIMER = "not for clinical use"
PORT = 50022
NAMESPACE = "imageserver"
NONCE_BYTES = 32
WORDS = {"P": "Pneumonia", "N": "Normal"}


class Unreachable(Exception):
    """The server is not there, or went away."""


class Refused(Exception):
    """The server does not know this app, or refuses what it was given."""


class NoAnswer(Exception):
    """No answer to this picture from this model."""


class Xray:
    """One connection. `server` is `host`, `host:port` or `[IPv6]:port`; `key` an SSH private key to sign with; times in seconds.

    Every method raises Unreachable when the connection fails or the server stays silent for `timeout`.
    """

    def __init__(self, server: str = "127.0.0.1", *, key: Path | None = None, timeout: float = 30.0) -> None:
        self._address, self._key, self._timeout = address_of(server), key, timeout
        self._mode = ""

    def __enter__(self) -> Xray:
        try:
            self._socket = socket.create_connection(self._address, self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Unreachable(
                f"no server at {self._address[0]}:{self._address[1]}: {error.strerror or error}"
            ) from error
        try:
            greeting = self._read(1)
            if greeting != b"?":
                raise Unreachable(
                    f"what listens at {self._address[0]}:{self._address[1]} says {greeting!r}, so it is no X-ray server"
                )
            if self._key is not None:
                self._authenticate(self._key)
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with contextlib.suppress(Unreachable):  # all is said already
                    self._command(b"BYE!")
        finally:
            self._socket.close()

    def send(self, picture: bytes, *, check: bool = False) -> None:
        """Send the picture that the next questions are about; with `check`, make sure that it arrived whole. Refused."""
        if (reply := self._command(b"FILE")) != "0":
            raise _refusal(reply)
        if self._command(str(len(picture)).ljust(10, "z").encode()) != "0":
            raise Refused(f"the server does not take a picture of {len(picture):,} bytes: send a smaller one")
        self._write(picture)
        if check and self._command(b"HASH") + self._command(hashlib.sha256(picture).hexdigest().encode()) != "00":
            raise Refused("the picture did not arrive as it was sent: send it again")

    def ask(self, code: str) -> str:
        """`Pneumonia` or `Normal`, by the model of that code, for the picture sent last. NoAnswer; Refused for an unknown model."""
        code = {"VGG": "VGG!"}.get(code.upper(), code.upper())
        if len(code) != 4 or not code.isascii():
            raise Refused(f"{code!r} is no model's code of four letters, such as {', '.join(MODELS)}")
        if code != self._mode:
            if (reply := self._command(b"MODE")) != "0":
                raise _refusal(reply)
            if self._command(code.encode()) != "0":
                raise Refused(f"the server has no model {code}, or it does not load there")
            self._mode = code
        reply = self._command(b"PRED")
        if reply == "0":
            return WORDS.get(self._read(1).decode("latin-1")) or _raise(
                Unreachable("the server answered with neither P nor N")
            )
        sentences = {
            "1": "no picture was sent",
            "3": f"the model {code} cannot answer now: try again",
            "5": "the server cannot read the picture",
        }
        raise NoAnswer(sentences.get(reply, f"the server answered {reply!r}"))

    def _authenticate(self, key: Path) -> None:
        if self._command(b"AUTH") != "0":
            raise Refused("the server does not take signatures")
        signature = sign(self._read(NONCE_BYTES), key)
        self._write(str(len(signature)).ljust(10, "z").encode())
        if self._command(signature) != "0":
            raise Refused(
                f"the server does not know the key {key}: have its public key added to the server's authorized_keys"
            )

    def _command(self, data: bytes) -> str:
        self._write(data)
        return self._read(1).decode("latin-1")

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Unreachable(f"the server is gone: {error.strerror or error}") from error

    def _read(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count:
                more = self._socket.recv(count - len(data))
                if not more:
                    raise Unreachable("the server closed the connection; it may have as many as it takes")
                data += more
        except OSError as error:
            raise Unreachable(f"the server is gone or silent: {error.strerror or error}") from error
        return data


def _refusal(reply: str) -> Refused:
    return Refused(
        "the server admits known apps only: sign with --sign KEY" if reply == "6" else f"the server answered {reply!r}"
    )


def _raise(error: Exception) -> str:
    raise error


def sign(message: bytes, key: Path) -> bytes:
    """An SSH signature over `message` in the namespace `imageserver`, made by ssh-keygen (which asks for a passphrase). Refused."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.expanduser())]
    try:
        made = subprocess.run(command, input=message, capture_output=True, check=False)
    except FileNotFoundError:
        raise Refused("ssh-keygen is not installed; it comes with OpenSSH 8.0 and later") from None
    lines = made.stdout.split(b"\n")
    try:
        if made.returncode == 0:
            return base64.b64decode(b"".join(line for line in lines if not line.startswith(b"-----")), validate=True)
        reason = (made.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
    except binascii.Error:
        reason = "what ssh-keygen wrote is no signature"
    raise Refused(f"cannot sign with {key}: {reason}")


def address_of(server: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[IPv6]:port` or `IPv6`. ValueError."""
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or server.endswith("]"):
        host, port = server, str(PORT)
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{server!r} is not of the form host:port")
    return host, int(port)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=f"Asks an ImageServer whether chest X-rays show pneumonia: {DISCLAIMER}.",
        epilog="models: " + ", ".join(f"{code} {name}" for code, name in MODELS.items()),
    )
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="file of a chest X-ray, JPEG or PNG")
    parser.add_argument("-m", "--model", default="ENSE", metavar="CODE", help="a model's code, or all (default ENSE)")
    parser.add_argument("--server", default="127.0.0.1", metavar="HOST:PORT", help=f"(default 127.0.0.1:{PORT})")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="SSH private key of an app that the server knows")
    parser.add_argument("--check", action="store_true", help="make sure that each picture arrived as it was sent")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds to wait for the server (default 30)"
    )
    options = parser.parse_args(arguments)
    try:
        pictures = [(path, path.read_bytes()) for path in options.pictures]
        with Xray(options.server, key=options.sign, timeout=options.timeout) as xray:
            return _ask_all(xray, pictures, options.model, options.check)
    except OSError as error:
        return _complain(2, f"{error.filename} cannot be read: {error.strerror}")
    except (Refused, ValueError) as error:
        return _complain(2, str(error))
    except Unreachable as error:
        return _complain(3, str(error))
    except KeyboardInterrupt:
        return 130


def _ask_all(xray: Xray, pictures: list[tuple[Path, bytes]], model: str, check: bool) -> int:
    """Ask and print; with model `all`, a model that the server does not have is said so and the others are asked."""
    every, code = model.lower() == "all", 0
    for path, data in pictures:
        xray.send(data, check=check)
        for chosen in MODELS if every else [model]:
            try:
                found = f"{xray.ask(chosen)} ({DISCLAIMER})"
            except Refused as error:
                if not every:
                    raise
                found = f"no answer: {error}"
            except NoAnswer as error:
                found, code = f"no answer: {error}", 1
            print(f"{path}  {chosen.upper()}  {found}", flush=True)
    return code


def _complain(code: int, sentence: str) -> int:
    print(f"xray.py: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
