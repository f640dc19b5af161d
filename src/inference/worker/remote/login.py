"""What logs in to an endpoint: read from a file of its own, which nobody else may read."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from imageserver import files
from imageserver.errors import ModelError
from imageserver.inference.shared.elsewhere.open_inference import Address, Remote

MOST = 8192
"""Bytes of a secret."""
OTHERS = stat.S_IRWXO | stat.S_IWGRP


def header(remote: Remote) -> str:
    """The value of the header Authorization; "" where nobody logs in. ModelError: a sentence without the secret."""
    if remote.token_file is not None:
        token = _secret(remote.token_file)
        if not token.isascii():
            raise ModelError(f"{remote.token_file} holds letters that no token has")
        return f"Bearer {token}"
    if remote.password_file is not None:
        pair = f"{remote.user}:{_secret(remote.password_file)}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return ""


def goes_open(address: Address) -> bool:
    """Whether others on the way could read what logs in there."""
    return not address.encrypted and address.host not in ("localhost", "::1") and not address.host.startswith("127.")


def _secret(path: Path) -> str:
    """One line of printable ASCII or, of a password, any letters."""
    try:
        about = os.stat(path)
        if about.st_mode & OTHERS:
            raise ModelError(f"{path} can be read or changed by others: chmod 600 {path}")
        text = files.read(path, MOST).decode().strip("\r\n")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ModelError(f"{path} holds no text") from None
    if not text or not text.isprintable():
        raise ModelError(f"{path} must hold one line, with the secret and nothing else")
    return text
