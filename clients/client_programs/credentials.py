"""A login over plain HTTP, and what a server says that refuses it. Standard library only."""

from __future__ import annotations

import base64
import json

from imageserver_client.connection import Token
from imageserver_client.errors import Refused, login_wanted, login_wrong


def sentence_in(body: bytes | None) -> str | None:
    """What the server says in the body of a refusal, without its last full stop; None when it is not one of ours."""
    try:
        return str(json.loads(body or b"")["error"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return None


def credentials(login: tuple[str, str] | Token | None) -> dict[str, str]:
    """A name and password, or a token, as a header of HTTP; none for nobody."""
    if login is None:
        return {}
    if isinstance(login, Token):
        return {"Authorization": f"Bearer {login.text}"}
    return {"Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()}


def not_let_in(login: tuple[str, str] | Token | None, status: int = 0) -> Refused:
    """Why a server says 401; `status` as in Refused."""
    if login is None:
        return login_wanted()
    if isinstance(login, Token):
        return Refused("The server does not take the token: it is wrong, has expired, or was revoked.", status)
    return login_wrong(login[0], status)
