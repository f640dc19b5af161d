"""Where files of the index are: at their own addresses, at a mirror, in a folder. Blocks, and honours the environment.

A server on the way may be anybody's: TLS is checked, no redirect leads out of it, and every wait has an end. What is
read is not trusted for all that; `fetching` compares its SHA-256.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import os
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any, Protocol

from imageserver import files
from imageserver.errors import ModelError
from imageserver.inference.getting.index import IndexedFile
from imageserver.lines import printable

TIMEOUT = 30.0
"""Seconds that a server may leave each step of a download without a byte."""

MOST_TAG = 200
"""Characters of an ETag that is kept."""

_POINTER = b"version https://git-lfs"
_POINTER_BYTES = 1024
_MIRROR = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-\"$->A-~]*)?")
_PART = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True)
class Opened:
    """A file that can be read.

    Attributes:
        stream: its bytes; `read1` raises OSError or http.client.HTTPException.
        start: the first of them: 0, or what was asked for.
        tag: by which a server knows this state of it again (a strong ETag); "" where it gives none.
    """

    stream: Any
    start: int
    tag: str = ""


class Origin(Protocol):
    """A place that may hold files of the index."""

    def name(self, wanted: IndexedFile) -> str:
        """As people know it: a host or a folder."""

    def size(self, wanted: IndexedFile) -> int | None:
        """Bytes of the file there, -1 where it does not say; None: there is none. ModelError: it does not answer."""

    def open(self, wanted: IndexedFile, start: int, tag: str) -> contextlib.AbstractContextManager[Opened]:
        """Read the file from byte `start` on, or, where that cannot be, from its first.

        Args:
            tag: of the state that the bytes before `start` are of; "": not known.

        Raises:
            ModelError: with the reason, as the rest of a sentence.
        """


def origin(given: str | None) -> Origin:
    """What --from names; without it the addresses of the index.

    ModelError: it is neither a folder nor the address of a mirror.
    """
    if given is None:
        return WebOrigin("")
    if "://" not in given:
        if not os.path.isdir(given):
            raise ModelError(f"there is no folder {given}, which --from names")
        return FolderOrigin(Path(given))
    if not _MIRROR.fullmatch(given):
        raise ModelError(
            f"--from takes a folder, or an address such as https://mirror.example/models, not {given[:200]!r}"
        )
    return WebOrigin(given.rstrip("/"))


class FolderOrigin:
    """A folder with files by their names in the index. Methods as of `Origin`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self, wanted: IndexedFile) -> str:
        return str(self._folder)

    def size(self, wanted: IndexedFile) -> int | None:
        path = self._folder / wanted.name
        return path.stat().st_size if path.is_file() else None

    @contextlib.contextmanager
    def open(self, wanted: IndexedFile, start: int, tag: str) -> Iterator[Opened]:
        path = self._folder / wanted.name
        found = self.size(wanted)
        if found is None:
            raise ModelError(f"there is none, and {wanted.address} has it")
        if found != wanted.size and files.start(path, _POINTER_BYTES).startswith(_POINTER):
            raise ModelError("there is only a pointer of Git LFS in its place; `git lfs pull` there brings the file")
        check_size(found, wanted)
        try:
            stream = path.open("rb")
        except OSError as error:
            raise ModelError(error.strerror or str(error)) from error
        with stream:
            yield Opened(stream, 0)


class WebOrigin:
    """Servers. Methods as of `Origin`.

    Args:
        mirror: where all files are beside each other; "": each at its own address.
    """

    def __init__(self, mirror: str) -> None:
        self._mirror = mirror
        self._opener = urllib.request.OpenerDirector()
        self._opener.addheaders = [("User-Agent", "imageserver"), ("Accept-Encoding", "identity")]
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        ):
            self._opener.add_handler(handler)

    def name(self, wanted: IndexedFile) -> str:
        return urllib.parse.urlsplit(self._address(wanted)).netloc

    def _address(self, wanted: IndexedFile) -> str:
        return f"{self._mirror}/{wanted.name}" if self._mirror else wanted.address

    def size(self, wanted: IndexedFile) -> int | None:
        try:
            with self._ask(urllib.request.Request(self._address(wanted), method="HEAD")) as answer:
                return _number(answer.headers.get("Content-Length"))
        except urllib.error.HTTPError as error:
            error.close()
            return None

    @contextlib.contextmanager
    def open(self, wanted: IndexedFile, start: int, tag: str) -> Iterator[Opened]:
        request = urllib.request.Request(self._address(wanted))
        if start:
            request.add_header("Range", f"bytes={start}-")
            if tag:
                request.add_header("If-Range", tag)
        try:
            answer = self._ask(request)
        except urllib.error.HTTPError as error:
            error.close()
            if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                with self.open(wanted, 0, "") as opened:
                    yield opened
                return
            raise ModelError(f"it answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()) from None
        with answer:
            yield Opened(answer, start_of(answer.status, answer.headers, start, wanted), tag_of(answer.headers))

    def _ask(self, request: urllib.request.Request) -> Any:
        """HTTPError: it refuses; ModelError: it does not answer."""
        try:
            return self._opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(reason(error)) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To where a release's files really are; never out of TLS."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme != "https":
            fp.close()
            raise urllib.error.URLError("it sends on to an address that is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def start_of(status: int, headers: Message, begin: int, wanted: IndexedFile) -> int:
    """Which byte an answer begins with, 0 or `begin`. ModelError: it is of another file, or another part."""
    if status != http.HTTPStatus.PARTIAL_CONTENT:
        check_size(_number(headers.get("Content-Length")), wanted)
        return 0
    part = _PART.fullmatch(headers.get("Content-Range", ""))
    if part is None or int(part[1]) != begin or int(part[2]) != wanted.size - 1:
        raise ModelError("it answers with another part than was asked for")
    check_size(int(part[3]), wanted)
    return begin


def check_size(found: int, wanted: IndexedFile) -> None:
    """ModelError: it is another file's; -1 is any."""
    if found not in (-1, wanted.size):
        raise ModelError(f"it has {found:,} bytes there, where the index says {wanted.size:,}")


def _number(header: str | None) -> int:
    return int(header) if header and re.fullmatch("[0-9]{1,18}", header) else -1


def tag_of(headers: Message) -> str:
    """The ETag; "" where there is none, or a weak one, which tells nothing about bytes (RFC 9110, section 8.8.1)."""
    tag: str = headers.get("ETag", "")
    return tag if re.fullmatch(rf'"[!#-~]{{0,{MOST_TAG}}}"', tag) else ""


def reason(error: Exception) -> str:
    """Why a server gave nothing, as the rest of a sentence."""
    cause: Any = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}); SSL_CERT_FILE may name a file with the "
            "authority of your network"
        )
    if isinstance(cause, socket.gaierror):
        return "its name is not known here"
    if isinstance(cause, TimeoutError):
        return f"nothing came for {TIMEOUT:g} s"
    if isinstance(cause, http.client.HTTPException | ValueError):
        return "what it answers is not HTTP"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return printable(text)[:200]
