"""The certificate of HTTPS: whether it can be used, and whether clients would believe it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from imageserver.app.checks.finding import Finding, fails, stops
from imageserver.config.table import Settings
from imageserver.errors import SettingError


def look(settings: Settings) -> Iterator[Finding]:
    """What is wrong with the one that would be shown; one of the server's own making is made anew in time."""
    if not (settings.tls or settings.https_port is not None):
        return
    # Their library takes a tenth of a start, which a server without TLS need not wait for.
    from imageserver.app import tls
    from imageserver.app.certificates.pair import load

    place = tls.given(settings)
    if place is None:
        return
    try:
        pair = load(place)
    except SettingError as error:
        yield stops(str(error))
        return
    if fault := pair.fault(datetime.datetime.now(datetime.UTC)):
        yield fails(f"{place.cert} {fault}: put a certificate there that is valid now.")
    yield from (fails(f"{remark}.") for remark in pair.remarks)
