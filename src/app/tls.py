"""HTTPS: TLS on the HTTP port (`-s`), or on a second port beside it (`--https-port`)."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from imageserver import folders
from imageserver.config.table import Settings
from imageserver.errors import SettingError
from imageserver.transport import hub
from imageserver.transport.http.server import HttpServer

Log = Callable[[str], None]


def context(settings: Settings, *, log: Log, know: Callable[[str], None] = lambda _name: None) -> ssl.SSLContext | None:
    """What TLS needs, or None when it is not asked for; `know` is told the certificate's names. SettingError."""
    if settings.tls and settings.https_port is not None:
        raise SettingError("-s makes the HTTP port speak HTTPS, and --https-port adds a second one: give one of them")
    if not (settings.tls or settings.https_port is not None):
        if settings.cert or settings.key:
            raise SettingError("--cert and --key are for HTTPS: add -s, or --https-port N for HTTPS beside HTTP")
        return None
    if settings.tls:
        log("only https is spoken here: the Android apps in the field need plain http; --https-port N serves both")
    from imageserver.app import (
        certificates,  # its library takes a tenth of the start, which a server without TLS need not wait for
    )

    return certificates.context(
        settings.cert, settings.key, project=folders.PROJECT, data=settings.data, log=log, know=know
    )


def beside(
    plain: HttpServer, listener: hub.Socket, settings: Settings, context: ssl.SSLContext, *, log: Log
) -> HttpServer:
    """A server for the same applications as `plain`, over TLS."""
    proxies = [str(network) for network in settings.trusted_proxy]
    secure = HttpServer(listener, settings, trusted_proxies=proxies, log=log, ssl_context=context, budget=plain.budget)
    secure.clients = plain.clients  # one count of each address
    secure.route("", lambda environ, start_response: plain.application(environ["PATH_INFO"])(environ, start_response))
    return secure
