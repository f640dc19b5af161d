"""The database of users: whether it can be read, and whether anybody could log in."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

from imageserver import bootstrap, folders
from imageserver.accounts.store.file import users_in
from imageserver.app.checks.finding import Finding, fails, stops
from imageserver.config.database import DatabaseAddress
from imageserver.config.table import Settings
from imageserver.errors import UsersUnavailable

_ANSWER_WITHIN = 30.0
"""Seconds."""


def look(settings: Settings) -> Iterator[Finding]:
    """What keeps people from logging in."""
    if settings.user:
        return
    remote = isinstance(settings.users, DatabaseAddress)
    try:
        number = _users_at(settings.users) if isinstance(settings.users, DatabaseAddress) else users_in(settings.users)
    except UsersUnavailable as error:
        yield (stops if settings.auth and not remote else fails)(str(error))
        return
    if settings.auth and not number:
        command = f"{folders.USERS_COMMAND} add NAME --users {settings.users}"
        yield fails(f"--auth: nobody can log in, as there is no user in {settings.users}: add one with  {command}")


def _users_at(address: DatabaseAddress) -> int:
    """How many there are, asked by a program of its own: no client of a database runs in the server. UsersUnavailable.

    The address goes by the environment, where nobody else sees a password in it.
    """
    program = bootstrap.command("accounts.cli", "list", "--json")
    environment = {**os.environ, "IMAGESERVER_USERS": address.full}
    try:
        done = subprocess.run(
            program,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise UsersUnavailable(f"the users' database {address} does not answer: see that it runs") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise UsersUnavailable(said[-1].partition(": ")[2] or said[-1])
    return len(json.loads(done.stdout))
