"""The database of users: whether it can be read, and whether anybody could log in."""

from __future__ import annotations

from collections.abc import Iterator

from imageserver import folders
from imageserver.accounts.store.file import users_in
from imageserver.app.checks.finding import Finding, fails, stops
from imageserver.config.table import Settings
from imageserver.errors import UsersUnavailable


def look(settings: Settings) -> Iterator[Finding]:
    """What keeps people from logging in."""
    if settings.user:
        return
    try:
        number = users_in(settings.users)
    except UsersUnavailable as error:
        yield (stops if settings.auth else fails)(str(error))
        return
    if settings.auth and not number:
        command = f"{folders.USERS_COMMAND} add NAME --users {settings.users}"
        yield fails(f"--auth: nobody can log in, as there is no user in {settings.users}: add one with  {command}")
