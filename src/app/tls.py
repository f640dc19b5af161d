"""HTTPS: TLS on the HTTP port (`-s`), or on a second port beside it (`--https-port`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imageserver import folders
from imageserver.config.table import Settings
from imageserver.transport import hub
from imageserver.transport.http.server import HttpServer

if TYPE_CHECKING:
    from imageserver.app.certificates.pair import Place
    from imageserver.app.certificates.watch import CertificateWatch

Log = Callable[[str], None]


def certificate(
    settings: Settings, *, log: Log, warn: Log, know: Callable[[str], None] = lambda _name: None
) -> CertificateWatch | None:
    """The certificate for TLS, or None when TLS is not asked for; `know` is told its names. SettingError."""
    if not (settings.tls or settings.https_port is not None):
        return None
    if settings.tls:
        log("only https is spoken here: the Android apps in the field need plain http; --https-port N serves both")
    # Their library takes a tenth of the start, which a server without TLS need not wait for.
    from imageserver.app.certificates.own import self_signed
    from imageserver.app.certificates.pair import Place
    from imageserver.app.certificates.watch import CertificateWatch

    place = given(settings)
    self_made = place is None
    if place is None:
        place = Place(*self_signed(settings.data / "tls", warn))
    return CertificateWatch(place, self_made=self_made, log=log, warn=warn, know=know)


def given(settings: Settings) -> Place | None:
    """Where the certificate is that somebody put there; None where the server makes one itself."""
    from imageserver.app.certificates.pair import Place

    if settings.cert is not None:
        return Place(settings.cert, settings.key)
    place = Place(folders.PROJECT / "ssl" / "cert.pem", folders.PROJECT / "ssl" / "key.pem")
    return place if all(place.stamp()) else None


def beside(plain: HttpServer, listener: hub.Socket, settings: Settings, *, log: Log) -> HttpServer:
    """A server for the same applications as `plain`, on a port of its own."""
    proxies = [str(network) for network in settings.trusted_proxy]
    secure = HttpServer(listener, settings, trusted_proxies=proxies, log=log, budget=plain.budget)
    secure.clients = plain.clients  # one count of each address
    secure.route("", lambda environ, start_response: plain.application(environ["PATH_INFO"])(environ, start_response))
    return secure
