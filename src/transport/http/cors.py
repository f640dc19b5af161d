"""Which web pages may talk to the server: same origin by default, others by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LONGEST = 512
"""Characters of an origin: a scheme, a name of at most 253, and a port."""

_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """The origins that are allowed beside the server's own; "*" allows every one."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        names = [allowed] if isinstance(allowed, str) else list(allowed)
        self._all = "*" in names
        self._allowed = {name.rstrip("/").lower() for name in names}

    def allows(self, environ: WSGIEnvironment) -> bool:
        """Whether this request may be answered. One without an Origin header comes from no web page and may."""
        origin: str = environ.get("HTTP_ORIGIN", "").lower()
        if len(origin) > LONGEST:
            return False
        if not origin or self._all or origin in self._allowed:
            return True
        scheme = environ["wsgi.url_scheme"]
        own = f"{scheme}://{environ.get('HTTP_HOST', '').lower()}"
        return origin.removesuffix(_PORTS[scheme]) == own.removesuffix(_PORTS[scheme])

    def headers(self, environ: WSGIEnvironment) -> list[tuple[str, str]]:
        """The headers that tell a browser so. Call it only for a request that `allows`."""
        origin = environ.get("HTTP_ORIGIN", "")
        if not origin:
            return []
        headers = [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            headers.append(("Access-Control-Allow-Methods", "GET, POST, OPTIONS"))
            headers.append(
                ("Access-Control-Allow-Headers", environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "Content-Type"))
            )
        return headers
