"""The texts that programs and pages show in place of a password: made here, measured and taken apart here.

`ist_<id>_<secret>` is a token, `isp_<id>_<secret>` the cookie of a page session: 12 hexadecimal digits to find it by,
and 64 that nobody can guess. Only their SHA-256 is kept. That needs no argon2, which makes guessing dear where people
choose: of 2^256 secrets nobody guesses one, however fast a guess is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

TOKEN, PAGE = "ist", "isp"
_ID_BYTES, _SECRET_BYTES = 6, 32
_LENGTH = len(TOKEN) + 1 + 2 * _ID_BYTES + 1 + 2 * _SECRET_BYTES
_FORM = re.compile(rf"(is[tp])_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)


class Secret(NamedTuple):
    """One such text: the id in it, and the digest by which it is known."""

    identity: str
    digest: bytes

    def is_of(self, digest: bytes) -> bool:
        """Whether this is the secret of that digest; takes as long for each answer."""
        return hmac.compare_digest(self.digest, digest)


def made(kind: str) -> tuple[str, Secret]:
    """A new secret of this kind, TOKEN or PAGE: its text, and what is kept of it."""
    identity = secrets.token_hex(_ID_BYTES)
    text = f"{kind}_{identity}_{secrets.token_hex(_SECRET_BYTES)}"
    return text, Secret(identity, hashlib.sha256(text.encode()).digest())


def parsed(text: str, kind: str) -> Secret | None:
    """What a text of this kind says, None when it is none; looks at no text of another length."""
    if len(text) != _LENGTH:
        return None
    found = _FORM.fullmatch(text)
    if found is None or found[1] != kind:
        return None
    return Secret(found[2], hashlib.sha256(text.encode()).digest())
