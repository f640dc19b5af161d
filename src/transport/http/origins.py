"""Which web pages may use the server: its own, and those of origins that are named; by which names it is reached.

A browser sends what any page asks it to, with the logins that it knows. It says which page asked (Origin,
Sec-Fetch-Site, Referer), and the page cannot change that. A page whose name was made to lead here (DNS rebinding)
counts as the server's own, so what looks like a browser must also name the server (Host) as it is known. Programs may
say any name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Headers = list[tuple[str, str]]

LONGEST = 512
"""Characters of an origin: a scheme, a name of at most 253, and a port."""

PREFLIGHT_SECONDS = 600
"""How long a browser need not ask again."""

EXPOSED = "Allow, Content-Disposition, Inference-Header-Content-Length, Link, Retry-After, WWW-Authenticate"
"""Headers of answers that scripts may read, beside those that they always may."""

_PORTS = {"http": ":80", "https": ":443"}
_NAME = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")
_PORT = re.compile(r":[0-9]*$")
_ASKED_HEADERS = re.compile(r"[0-9A-Za-z-]+(?:, ?[0-9A-Za-z-]+){0,49}")
_FETCH = ("SITE", "MODE", "DEST", "USER", "STORAGE_ACCESS")
_MARKS = ("HTTP_ORIGIN", "HTTP_COOKIE", "HTTP_ACCEPT_LANGUAGE", *(f"HTTP_SEC_FETCH_{which}" for which in _FETCH))
_NOT_EMBEDDED = ("Cross-Origin-Resource-Policy", "same-origin")
_FRAMES = frozenset({"iframe", "frame", "embed", "object", "fencedframe"})


def looks_like_browser(environ: WSGIEnvironment) -> bool:
    """Whether a browser may have sent this, for a page that it shows; a page cannot hide all of these marks.

    Accept-Language, since in Firefox a script may say another User-Agent; no script can leave it out.
    """
    return "Mozilla/" in environ.get("HTTP_USER_AGENT", "") or not environ.keys().isdisjoint(_MARKS)


def is_preflight(environ: WSGIEnvironment) -> bool:
    """Whether a browser asks what a page of another origin may send."""
    asks = environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    return asks and bool(environ.get("HTTP_ORIGIN"))


class Origins:
    """The origins that are allowed beside the server's own, and the names that the server is known by.

    Args:
        allowed: as browsers write them, `https://example.org:8443`; "null"; "*" is every one.
        names: DNS names as browsers write them (punycode); `*.example.org` is every name one label below. Addresses,
            `localhost`, and what ends in `.localhost` or `.local` need no mention.
        log: takes a line about each refusal.
    """

    def __init__(
        self,
        allowed: str | Iterable[str] = (),
        names: Iterable[str] = (),
        *,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        origins = [allowed] if isinstance(allowed, str) else list(allowed)
        self._all = "*" in origins
        self._allowed = {_plain(origin.rstrip("/").lower()) for origin in origins}
        self._names: set[str] = set()
        self._log = log
        for name in names:
            self.know(name)

    def know(self, name: str) -> None:
        """Add a name that the server is known by."""
        self._names.add(name.lower().removesuffix("."))

    def refusal(self, environ: WSGIEnvironment, *, script: bool = False) -> str:
        """Why this request is not answered, in a sentence for whoever sent it; "" for one that is. It is logged.

        Args:
            environ: The request.
            script: Whether the answer is a script with data (JSONP), which runs in whatever page it is asked for.
        """
        if not looks_like_browser(environ):
            return ""
        address, name = environ.get("REMOTE_ADDR", ""), _name(environ)
        if not self._is_known(name):
            self._log(f"the host {name!r} that a browser at {address} asked for was refused; --server-name adds it")
            return f"browsers do not reach this server by the name {name!r}; --server-name would add it"
        origin = _page(environ, script=script)
        if not origin or self._all or origin in self._allowed or origin == _own(environ):
            return ""
        self._log(f"the origin {origin!r} of {address} was refused; --cors-origin would allow it")
        return f"pages of {origin!r} may not use this server; --cors-origin would allow it"

    def headers(self, environ: WSGIEnvironment, *, to_all: bool = False) -> Headers:
        """The headers that tell a browser which page may have the answer. Only for what is not refused.

        Args:
            environ: The request.
            to_all: Whether pages that "*" alone allows may send what the browser knows of its user, too.
        """
        origin = environ.get("HTTP_ORIGIN", "")
        if not origin:
            # A page embeds pictures without an Origin, and over plain HTTP nothing else says reliably whose page it is.
            known = self._all or (self._allowed and _referer(environ) in self._allowed)
            return [] if known or to_all or not looks_like_browser(environ) else [_NOT_EMBEDDED]
        headers = [("Vary", "Origin"), ("Access-Control-Expose-Headers", EXPOSED)]
        if to_all or self.trusts(environ):
            headers += [("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true")]
        else:
            headers += [("Access-Control-Allow-Origin", "*")]
        return headers

    def trusts(self, environ: WSGIEnvironment) -> bool:
        """Whether logins count that a browser keeps and shows by itself: not for pages that "*" alone allows."""
        return not self._all or self.is_own(environ) or _page(environ) in self._allowed

    def drop_kept_logins(self, environ: WSGIEnvironment) -> None:
        """Take from a request that is not trusted what a browser may have added by itself: cookies, and a password."""
        if not self.trusts(environ):
            environ.pop("HTTP_COOKIE", None)
            if environ.get("HTTP_AUTHORIZATION", "")[:7].lower() != "bearer ":
                environ.pop("HTTP_AUTHORIZATION", None)

    def is_own(self, environ: WSGIEnvironment) -> bool:
        """Whether this comes from the server's own page, or from none."""
        page = _page(environ)
        return not page or page == _own(environ)

    def preflight(self, environ: WSGIEnvironment, methods: Iterable[str]) -> Headers:
        """The headers that answer a preflight, beside those that every answer has; `methods`: what the path takes."""
        headers = [
            ("Access-Control-Allow-Methods", ", ".join(sorted(methods))),
            ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
        ]
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")[: LONGEST + 1]
        if len(asked) <= LONGEST and _ASKED_HEADERS.fullmatch(asked):
            headers.append(("Access-Control-Allow-Headers", asked))
        if environ.get("HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK") == "true":
            headers.append(("Access-Control-Allow-Private-Network", "true"))
        return headers

    def _is_known(self, name: str) -> bool:
        """Whether it is a name of this server."""
        if not _NAME.fullmatch(name):
            return _is_address(name)
        if name == "localhost" or name.endswith((".localhost", ".local")):
            return True
        return name in self._names or f"*.{name.partition('.')[2]}" in self._names or _is_address(name)


def _name(environ: WSGIEnvironment) -> str:
    """The name or address in the Host header, without its port; "" where there is none."""
    return _PORT.sub("", environ.get("HTTP_HOST", "")[:LONGEST].lower()).removesuffix(".")


def _is_address(name: str) -> bool:
    """Whether it is an address as browsers write it: four numbers, or version 6 in brackets."""
    try:
        if name[:1] == "[" and name[-1:] == "]" and "%" not in name:
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _page(environ: WSGIEnvironment, *, script: bool = False) -> str:
    """The origin of the page that asked; "" for none, for one that need not be told, and where a link was followed.

    A picture, a frame or a script of a page is asked for without an Origin. Where it is one of another origin browsers
    say so (by HTTPS and on localhost), and most add the page's origin as Referer; "another site" stands for the others.
    Who asks for a `script` must be told in any case.
    """
    origin: str = environ.get("HTTP_ORIGIN", "")[: LONGEST + 1].lower()
    site = environ.get("HTTP_SEC_FETCH_SITE", "cross-site" if script else "none")
    if origin or site not in ("cross-site", "same-site"):
        return _plain(origin)
    followed = environ.get("HTTP_SEC_FETCH_MODE") == "navigate" and environ["REQUEST_METHOD"] in ("GET", "HEAD")
    if followed and environ.get("HTTP_SEC_FETCH_DEST") not in _FRAMES:
        return ""
    return _referer(environ) or "another site"


def _referer(environ: WSGIEnvironment) -> str:
    """The origin of the page in the Referer header; "" where there is none."""
    scheme, _, rest = environ.get("HTTP_REFERER", "")[:LONGEST].partition("://")
    return _plain(f"{scheme}://{rest.partition('/')[0]}".lower()) if rest else ""


def _own(environ: WSGIEnvironment) -> str:
    """The origin of the server's own pages, as this request reached it."""
    return _plain(f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '').lower()}")


def _plain(origin: str) -> str:
    """An origin without a port that its scheme has anyway."""
    port = _PORTS.get(origin.partition("://")[0])
    return origin.removesuffix(port) if port else origin
