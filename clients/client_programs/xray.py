"""The legacy TCP commands: whether chest X-rays show pneumonia. Not for clinical use. Standard library only."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from imageserver_client.errors import Lost, NoAnswer, Refused, Unreachable, Wrong

MODELS = {
    "INCE": "Inception",
    "DENS": "DenseNet",
    "MYCN": "the project's own CNN",
    "VGG!": "VGG",
    "XCEP": "Xception",
    "RESN": "ResNet",
    "ENSE": "ensemble of all",
}
PORT = 50022
NAMESPACE = "imageserver"
NONCE_BYTES = 32
WORDS = {"P": "Pneumonia", "N": "Normal"}
NO_ANSWER = {
    "1": "no picture was sent",
    "3": "the model {} cannot answer now: try again",
    "5": "the server cannot read the picture",
}
"""Replies to a question other than an answer."""


class Xray:
    """One connection; use as a context. Every method raises Unreachable when it fails or the server stays silent.

    Args:
        server: `host`, `host:port` or `[IPv6]:port`.
        key: an SSH private key to sign with.
        timeout: seconds to wait for each answer of the server's.
    """

    def __init__(self, server: str = "127.0.0.1", *, key: Path | None = None, timeout: float = 30.0) -> None:
        self._address, self._key, self._timeout = address_of(server), key, timeout
        self._mode = ""

    def __enter__(self) -> Xray:
        where = f"{self._address[0]}:{self._address[1]}"
        try:
            self._socket = socket.create_connection(self._address, self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Unreachable(
                f"no server at {where} ({error.strerror or error}): start it, or name another with --server"
            ) from None
        try:
            self._await_greeting(where)
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
        """Send the picture that the next questions are about. Refused.

        Args:
            picture: the bytes of a JPEG or PNG file.
            check: make sure that it arrived whole.
        """
        if (reply := self._command(b"FILE")) != "0":
            raise _refusal(reply)
        if self._command(str(len(picture)).ljust(10, "z").encode()) != "0":
            raise Refused(f"the server does not take a picture of {len(picture):,} bytes: send a smaller one")
        self._write(picture)
        if check and self._command(b"HASH") + self._command(hashlib.sha256(picture).hexdigest().encode()) != "00":
            raise Refused("the picture did not arrive as it was sent: send it again")

    def ask(self, code: str) -> str:
        """Ask the model of that code about the picture sent last.

        Returns:
            `Pneumonia` or `Normal`.

        Raises:
            NoAnswer: no answer to this picture.
            Refused: there is no such model.
        """
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
        if reply != "0":
            raise NoAnswer(NO_ANSWER.get(reply, f"the server answered {reply!r}").format(code))
        word = WORDS.get(self._read(1).decode("latin-1"))
        if word is None:
            raise Unreachable("the server answered with neither P nor N")
        return word

    def _await_greeting(self, where: str) -> None:
        try:
            greeting = self._read(1)
        except Lost as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
            raise Unreachable(
                f"{where} accepts connections but does not greet within {self._timeout:g} s: "
                f"is it the legacy TCP port (default {PORT})?"
            ) from None
        if greeting != b"?":
            raise Unreachable(f"what listens at {where} says {greeting!r}, so it is no X-ray server: check the port")

    def _authenticate(self, key: Path) -> None:
        if self._command(b"AUTH") != "0":
            raise Refused("the server does not take signatures: leave out --sign")
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
            raise Lost(f"the server is gone: {error.strerror or error}") from error

    def _read(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count:
                more = self._socket.recv(count - len(data))
                if not more:
                    raise Lost("the server closed the connection; it may have as many as it takes")
                data += more
        except OSError as error:
            raise Lost(f"the server is gone or silent: {error.strerror or error}") from error
        return data


def _refusal(reply: str) -> Refused:
    if reply == "6":
        return Refused("the server admits known apps only: sign with --sign KEY")
    return Refused(f"the server answered {reply!r}")


def sign(message: bytes, key: Path) -> bytes:
    """An SSH signature over `message` in the namespace `imageserver`, made by ssh-keygen. Refused.

    ssh-keygen asks for the key's passphrase, if it has one.
    """
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
    """Host and port of `host`, `host:port`, `[IPv6]:port` or `IPv6`. Wrong."""
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or server.endswith("]"):
        host, port = server, str(PORT)
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Wrong(f"{server!r} is not of the form host:port")
    return host, int(port)
