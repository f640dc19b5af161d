"""The address that makes a phone a camera, and its QR code: as a picture for pages, and for the terminal."""

from __future__ import annotations

import functools
import io
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imageserver.config import addresses
from imageserver.web.requests import Request

if TYPE_CHECKING:
    from segno import QRCode

LONGEST = 150
"""Characters of an address; a longer one makes a code that takes long to make and is hard to scan."""
QUIET = 2
"""Modules of light around the code in a terminal, whose other lines leave more; pictures have the four of the norm."""

_HALVES = {(True, True): " ", (True, False): "▄", (False, True): "▀", (False, False): "█"}
"""Two modules, one above the other, as a character of a dark terminal: what is dark is left out."""


def camera(server: str) -> str:
    """The address of the camera page of a server whose own address ends in a slash."""
    return f"{server}camera"


def server(request: Request, listens: str, https_port: int | None) -> str:
    """The address by which another machine reaches the server that got this request; it ends in a slash.

    Browsers give cameras to pages over HTTPS only, so that is preferred where it is spoken.

    Args:
        request: Whose Host says how the server is called, unless that is a name for the same machine only.
        listens: The address that the server listens on.
        https_port: Where it speaks HTTPS, beside the port of the request.
    """
    scheme, host = request.scheme, request.environ.get("HTTP_HOST", "")
    name, port = _parted(host)
    if addresses.is_loopback(name.strip("[]")) and not addresses.is_loopback(listens):
        name = addresses.for_url(addresses.reachable(listens))
    if scheme == "http" and https_port is not None:
        scheme, port = "https", "" if https_port == 443 else f":{https_port}"
    return f"{scheme}://{name}{port}{_path(request)}"


def svg(text: str) -> bytes:
    """A QR code of a text as an SVG picture, black on white; takes milliseconds. ValueError: it is too long."""
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters are too many for a QR code")
    return _svg(text)


def lines(text: str) -> Iterator[str]:
    """A QR code of a text as lines for a dark terminal."""
    rows = [[bool(module) for module in row] for row in _code(text).matrix_iter(border=QUIET)]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))  # nothing, so the terminal's own dark
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        yield "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))


@functools.lru_cache(maxsize=64)
def _svg(text: str) -> bytes:
    picture = io.BytesIO()
    _code(text).save(picture, kind="svg", border=4, dark="#000", light="#fff", xmldecl=False, omitsize=True)
    return picture.getvalue()


def _code(text: str) -> QRCode:
    import segno  # here, since most servers are never asked for a code

    return segno.make(text, micro=False, error="m")


def _parted(host: str) -> tuple[str, str]:
    """A Host header as the name, an IPv6 address in its brackets, and `:port` or ""."""
    name, colon, port = host.rpartition(":")
    return (name, f":{port}") if colon and port.isdecimal() else (host, "")


def _path(request: Request) -> str:
    """The path below which a proxy has this server, as far as a page of its own tells: it embeds the picture."""
    page = urllib.parse.urlsplit(request.headers.get("Referer", ""))
    if page.netloc.lower() != request.environ.get("HTTP_HOST", "").lower():
        return "/"
    return f"{page.path.rpartition('/')[0]}/"
