"""The static files of the pages, read once at the start and served from memory."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from imageserver.errors import Refused
from imageserver.pages.rendering import takes_gzip
from imageserver.web.requests import Request, Response

FOLDER = Path(__file__).parent / "static"

_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}
"""Files of other kinds are none of the pages'."""

_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for again: an ETag costs one small answer, and never an old file
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent: as it is, and as gzip makes it, which may be no smaller and is then empty."""

    kind: str
    data: bytes
    compressed: bytes
    tag: str


class Assets:
    """The files below a folder, by their paths in it.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in _TYPES]
        self.files = {path.relative_to(folder).as_posix(): _read(path) for path in paths}

    def answer(self, request: Request, file: str) -> Response:
        """A file, or 304 for who has it already. Refused: 404."""
        asset = self.files.get(file)
        if asset is None:
            raise Refused(404, "there is no such file among those of the pages")
        squeezed = bool(asset.compressed) and takes_gzip(request)
        tag = f'"{asset.tag}-gzip"' if squeezed else f'"{asset.tag}"'
        headers = _HEADERS | {"ETag": tag}
        if tag in _tags(request):
            return Response(status=304, headers=headers)
        if squeezed:
            headers["Content-Encoding"] = "gzip"
        return Response(asset.compressed if squeezed else asset.data, headers=headers, mimetype=asset.kind)


def _read(path: Path) -> Asset:
    data = path.read_bytes()
    compressed = gzip.compress(data, 9, mtime=0)
    smaller = len(compressed) < len(data)
    return Asset(_TYPES[path.suffix], data, compressed if smaller else b"", hashlib.sha256(data).hexdigest()[:20])


def _tags(request: Request) -> list[str]:
    """What the client has; weak tags are as good here (RFC 9110, section 13.1.2), and a proxy makes such."""
    return [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
