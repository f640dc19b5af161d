"""The cookie of a page session: how browsers get it, show it, and lose it.

Over TLS its name begins with `__Host-`, so that neither the same host without TLS nor a neighbour in its domain can
plant one (RFC 6265bis, section 4.1.3.2). SameSite=Strict keeps it from requests that pages of other sites bring about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imageserver.transport.http.origins import Origins
from imageserver.web.requests import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

NAME = "imageserver_session"
LOGIN = 'Bearer realm="ImageServer"'
"""WWW-Authenticate for pages: at one of Basic a browser would ask for the password in a window of its own."""
LONGEST = 128
"""Characters of a value that a connection keeps: what is longer is none of ours."""


def shown(request: Request) -> str:
    """The value that a request shows; "" where it shows none."""
    wanted = _name(request)
    for pair in request.environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == wanted:
            return str(value)
    return ""


def of_handshake(environ: WSGIEnvironment, origins: Origins) -> str:
    """The value that the request shows with which a connection begins; "" for none, and for pages not to be trusted."""
    value = shown(Request(environ, populate_request=False)) if origins.trusts(environ) else ""
    return value if len(value) <= LONGEST else ""


def give(request: Request, response: Response, value: str, seconds: float) -> None:
    """Have the browser show `value` for at most `seconds`."""
    response.headers.add("Set-Cookie", f"{_name(request)}={value}; Max-Age={int(seconds)}; {_attributes(request)}")


def cleared(request: Request) -> str:
    """The value of a Set-Cookie header that makes the browser forget it."""
    return f"{_name(request)}=; Max-Age=0; {_attributes(request)}"


def _secure(request: Request) -> bool:
    return request.environ.get("wsgi.url_scheme") == "https"  # of a trusted proxy what that said


def _root(request: Request) -> str:
    """The path under which the application is."""
    return f"{request.environ.get('SCRIPT_NAME', '').rstrip('/')}/"


def _name(request: Request) -> str:
    return f"__Host-{NAME}" if _secure(request) and _root(request) == "/" else NAME


def _attributes(request: Request) -> str:
    secure = "; Secure" if _secure(request) else ""
    return f"Path={_root(request)}; HttpOnly; SameSite=Strict{secure}"
