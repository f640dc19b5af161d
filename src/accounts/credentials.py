"""What somebody shows at a door to say who it is: a name and password, a token, or the cookie of a page. Pure.

Names and passwords come by HTTP Basic (RFC 7617), tokens as `Authorization: Bearer` (RFC 6750).
"""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass, field

from imageserver.errors import NotAllowed

CHALLENGE = 'Basic realm="ImageServer", charset="UTF-8"'
"""The value of WWW-Authenticate that goes with a 401."""
PAGE_ENDED = "this login of a page has ended; log in again"


class CredentialKind(enum.Enum):
    """What was shown."""

    PASSWORD = "password"
    TOKEN = "token"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was shown, as the client gave it.

    Attributes:
        kind: Which of the three it is. A password that is a token is one of kind PASSWORD still.
        name: The user's; "" with a token or a cookie that came without one.
        secret: The password, the token or the cookie's value.
    """

    kind: CredentialKind
    name: str
    secret: str = field(repr=False)


def password(name: str, secret: str) -> Credentials:
    """A name and a password, or a token in its place."""
    return Credentials(CredentialKind.PASSWORD, name, secret)


def token(secret: str) -> Credentials:
    """A token, which says itself whose it is."""
    return Credentials(CredentialKind.TOKEN, "", secret)


def page(value: str) -> Credentials:
    """The cookie of a page session."""
    return Credentials(CredentialKind.PAGE, "", value)


def of_header(header: str) -> Credentials:
    """What an Authorization header holds, Basic or Bearer. NotAllowed, with a sentence, when that is nothing."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "bearer":
        return token(encoded.strip())
    if scheme.lower() != "basic":
        raise NotAllowed(f"this takes HTTP Basic credentials or a Bearer token, not {scheme[:32]!r}")
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        plain = b""
    name, colon, secret = plain.partition(b":")
    if not colon:
        raise NotAllowed("the credentials are no valid HTTP Basic header")
    try:
        return password(name.decode(), secret.decode())
    except UnicodeDecodeError:  # clients that know no better send Latin-1 (RFC 7617, section 2.1)
        return password(name.decode("latin-1"), secret.decode("latin-1"))
