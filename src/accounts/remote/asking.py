"""How the server asks for users, wherever these are: in threads where that blocks, green where a process answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from imageserver.accounts.database import UserDB
from imageserver.accounts.remote.users import RemoteUsers
from imageserver.transport import hub

T = TypeVar("T")

Users = UserDB | RemoteUsers


def ask(users: Users, function: Callable[..., T], *args: object) -> T:
    """Call a function that asks `users`; waits green. Raises what it does."""
    return function(*args) if isinstance(users, RemoteUsers) else hub.in_thread(function, *args)
