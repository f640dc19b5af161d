"""What every connection needs: an address, whom to believe over HTTPS; and why there is none. Standard library only."""

from __future__ import annotations

import os
import re
import socket
import ssl
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from imageserver_client.errors import HINTS, Unreachable, Wrong


@dataclass(frozen=True)
class Token:
    """What is shown in place of a name and password."""

    text: str


@dataclass(frozen=True)
class Trust:
    """Whom to believe over HTTPS.

    Args:
        ca: PEM file of the certificates to trust; None or "": the system's.
        insecure: trust any certificate.

    Raises:
        Wrong: `ca` is no PEM file with a certificate.
    """

    ca: str | os.PathLike[str] | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.ca:
            self.context()

    @property
    def means_https(self) -> bool:
        """Whether something is said of certificates, so that an address without a scheme is one of HTTPS."""
        return bool(self.ca) or self.insecure

    def context(self) -> ssl.SSLContext:
        """For Python's own clients."""
        try:
            context = ssl.create_default_context(cafile=os.fspath(self.ca) if self.ca else None)
        except FileNotFoundError:
            raise Wrong(f"There is no file {self.ca}, which {HINTS['ca']} names.") from None
        except OSError as error:  # ssl.SSLError is one
            raise Wrong(f"{self.ca}, which {HINTS['ca']} names, is no PEM file with a certificate ({error}).") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def websocket_options(self) -> dict[str, Any]:
        """For websocket-client's `sslopt`: it sets what a context of ours says of checks anew, so it gets none."""
        if self.insecure:
            return {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
        return {"ca_certs": os.fspath(self.ca)} if self.ca else {}


TRUST = Trust()
_OTHER_NAME = "give the address by a name that it has"
REMEDIES = {10: "have it renewed", 62: _OTHER_NAME, 64: _OTHER_NAME}
"""For a certificate that has expired, and one for other names or addresses, by OpenSSL's numbers (X509_V_ERR_…)."""


def url_of(server: str, trust: Trust = TRUST, port: int | None = None) -> str:
    """`host`, `host:port`, `[IPv6]:port` or a URL as a URL without a slash at its end; `port` where none is given.

    A path is kept: it is where a proxy has the server. Wrong: it is no address.
    """
    text = server if "://" in server else f"{'https' if trust.means_https else 'http'}://{server}"
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname, parts.port or port
    except ValueError:
        host = None
    known = host is not None and parts.scheme in ("http", "https")
    if host is None or not known or re.search(r"[\s?#]", server):
        raise Wrong(f"{server!r} is no address: give host:port, such as 192.168.1.20:8080.")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def unreachable(url: str, error: BaseException) -> Unreachable:
    """Why there is no connection to `url`, and what to do about it."""
    last = error
    for last in _causes(error):
        if isinstance(last, ssl.SSLCertVerificationError):
            why = last.verify_message.rstrip(".")
            remedy = REMEDIES.get(last.verify_code, f"give it with {HINTS['ca file']}")
            trusting = f"{remedy}, or {HINTS['insecure']} to trust it unseen."
            return Unreachable(f"The certificate of {url} is not trusted ({why}): {trusting}")
        if isinstance(last, ssl.SSLError):
            leave = f"leave out {HINTS['ca']} and {HINTS['insecure']}, or start the server with -s."
            return Unreachable(f"{url} does not speak HTTPS: write http:// before the address and {leave}")
        if isinstance(last, socket.gaierror):
            host = urllib.parse.urlsplit(url).hostname
            return Unreachable(f"There is no host {host} ({last.strerror}): is the address right?")
        if isinstance(last, (ConnectionRefusedError, TimeoutError)):
            return Unreachable(f"No ImageServer answers at {url} ({_words(last)}): start it, or give another address.")
    hint = "is the port right?"
    if url.startswith("http:"):
        hint = "if it speaks HTTPS, write https:// before the address."
    return Unreachable(f"{url} does not answer as an ImageServer does ({_words(last)}): {hint}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from: libraries hide the reason there."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(error: BaseException) -> str:
    """What an exception says, in one line."""
    if status := getattr(error, "status_code", None):  # what websocket-client says in words is all headers
        return f"it says {status}"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__
