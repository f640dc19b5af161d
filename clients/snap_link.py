"""What capture.py and snap.py share: the relay's WebSocket, and credentials for everything."""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import websocket

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
OPEN_WITHIN = 10.0
PING_EVERY = 20.0
UNTRUSTED = "give its certificate with --ca, or --insecure to trust it unseen"


class Unreachable(Exception):
    """The server is not there, or turned us away: one sentence."""


class Trust(NamedTuple):
    """Whom to believe over HTTPS: the certificates in the PEM file `ca` (None: those of the system), or with `insecure` anybody."""

    ca: str | None = None
    insecure: bool = False


TRUST = Trust()


def trust_of(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Trust:
    """What --ca and --insecure say; ends the program when --ca names no file."""
    if options.ca and not os.path.isfile(options.ca):
        parser.error(f"there is no file {options.ca}, which --ca names")
    return Trust(options.ca, options.insecure)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both programs have: where the server is, who asks, whom to trust."""
    parser.add_argument(
        "-s", "--server", metavar="ADDRESS", default="127.0.0.1:8080", help="host:port or URL (default %(default)s)"
    )
    parser.add_argument("-u", "--user", metavar="NAME", help="user; the password comes from CAMERA_PASSWORD")
    parser.add_argument(
        "--ca", metavar="FILE", help="certificate to trust, PEM: the server's own when it is self-signed; means HTTPS"
    )
    parser.add_argument("--insecure", action="store_true", help="trust any certificate; means HTTPS")


def base_url(server: str, trust: Trust = TRUST) -> str:
    """`host:port` or a URL as `http://host:port` (`https` with any `trust`), without a slash at the end."""
    return (server if "://" in server else f"{'http' if trust == TRUST else 'https'}://{server}").rstrip("/")


def headers(login: tuple[str, str] | None) -> list[str]:
    """HTTP Basic credentials as header lines."""
    if login is None:
        return []
    return ["Authorization: Basic " + base64.b64encode(":".join(login).encode()).decode()]


class Room:
    """A connection to the relay. Use as a context. Unreachable when it cannot be had."""

    def __init__(self, server: str, room: str = "", login: tuple[str, str] | None = None, trust: Trust = TRUST) -> None:
        url = "ws" + base_url(server, trust).removeprefix("http") + "/ws" + (f"/{room}" if room else "")
        tls = (
            {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
            if trust.insecure
            else {"ca_certs": trust.ca}
            if trust.ca
            else {}
        )
        try:
            self._ws = websocket.create_connection(url, timeout=OPEN_WITHIN, header=headers(login), sslopt=tls)
        except websocket.WebSocketBadStatusException as error:
            if error.status_code != 401:
                raise Unreachable(f"{url} answers {error.status_code}") from None
            if login is None:
                raise Unreachable(
                    f"{url} wants a user's name and password: give --user, and the password in CAMERA_PASSWORD"
                ) from None
            raise Unreachable(
                f"{url} does not let {login[0]!r} in: the name, or the password in CAMERA_PASSWORD, is wrong"
            ) from None
        except ssl.SSLCertVerificationError:
            raise Unreachable(f"{url}: its certificate is not trusted: {UNTRUSTED}") from None
        except (OSError, websocket.WebSocketException) as error:
            raise Unreachable(f"{url} cannot be reached ({error})") from None

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ws.close()

    def send(self, text: str) -> None:
        self._ws.send(text)

    def texts(self, timeout: float | None = None) -> Iterator[str]:
        """The texts that come, for at most `timeout` seconds (None: for ever). Unreachable when the connection ends."""
        end = None if timeout is None else time.monotonic() + timeout
        while end is None or time.monotonic() < end:
            self._ws.settimeout(PING_EVERY if end is None else max(0.01, min(PING_EVERY, end - time.monotonic())))
            try:
                text = self._ws.recv()
            except websocket.WebSocketTimeoutException:
                self._ws.ping()  # a connection that died in silence shows itself so
                continue
            except (OSError, websocket.WebSocketException) as error:
                raise Unreachable(f"the connection ended ({error})") from None
            if not text:
                raise Unreachable("the server closed the connection")
            yield text if isinstance(text, str) else text.decode(errors="replace")


def announcement(text: str) -> dict[str, Any] | None:
    """The server's `{"snippet": …, "prediction": …}` in a text, None when it is something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "snippet" in found else None


def delays(jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before each further try: doubling up to `LONGEST_DELAY`, each by up to half shorter at random."""
    delay = FIRST_DELAY
    while True:
        yield delay * (1 - jitter() / 2)
        delay = min(LONGEST_DELAY, delay * 2)
