"""What can go wrong for a client, each as a sentence.

ClientError
├── Unreachable       no server, none that can be trusted, or it went away
│   └── Lost          the connection ended
├── Refused           the server does not take what it was given
├── NoAnswer          the server has no answer to this picture
└── Wrong             what was given here makes no sense
    └── SourceError   a source that is not there or has no frames
"""

from __future__ import annotations

HINTS = {
    "ca": "Trust(ca=…)",
    "ca file": "Trust(ca=FILE)",
    "insecure": "Trust(insecure=True)",
    "login": "login=(NAME, PASSWORD) or login=Token(TEXT)",
}
"""How sentences name what to give; a program with a command line puts its options here."""


class ClientError(Exception):
    """One sentence. `exit_code` is what a program that ends of it ends with."""

    exit_code = 2


class Unreachable(ClientError):
    """There is no server at that address, none that can be trusted, or it went away and did not come back."""

    exit_code = 3


class Lost(Unreachable):
    """The connection ended."""


class Refused(ClientError):
    """The server does not take what it was given. `status`: that of HTTP, 0 over other protocols."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


class NoAnswer(ClientError):
    """No answer to this picture from this model."""

    exit_code = 1


class Wrong(ClientError, ValueError):
    """Something given on this side is wrong."""


class SourceError(Wrong):
    """A source that is not there or has no frames."""


def login_wanted() -> Refused:
    """For whoever gave no name to a server that asks for one."""
    return Refused(f"The server wants a user's name and password: give {HINTS['login']}.")


def login_wrong(user: str, status: int = 0) -> Refused:
    """For whoever gave a name that the server does not let in; `status` as in Refused."""
    return Refused(f"The server does not let {user!r} in: the name or the password is wrong.", status)
