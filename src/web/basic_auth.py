"""HTTP Basic credentials (RFC 7617), as every HTTP door of the server reads them. Pure."""

from __future__ import annotations

import base64

from imageserver.errors import NotAllowed

REALM = 'Basic realm="ImageServer", charset="UTF-8"'
"""The value of WWW-Authenticate that goes with a 401."""


def parse(header: str) -> tuple[str, str]:
    """Name and password in an Authorization header. NotAllowed, with a sentence, when it holds none."""
    scheme, _, encoded = header.partition(" ")
    if not scheme:
        raise NotAllowed("this needs a user name and password (HTTP Basic)")
    if scheme.lower() != "basic":
        raise NotAllowed(f"this takes HTTP Basic credentials, not {scheme[:32]!r}")
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        plain = b""
    name, colon, password = plain.partition(b":")
    if not colon:
        raise NotAllowed("the credentials are no valid HTTP Basic header")
    try:
        return name.decode(), password.decode()
    except UnicodeDecodeError:  # clients that know no better send Latin-1 (RFC 7617, section 2.1)
        return name.decode("latin-1"), password.decode("latin-1")
