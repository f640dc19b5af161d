"""The process that talks to PostgreSQL about users: a program of its own (sidecar/), which the server starts.

Its first message has the address and the `limits`; what it tells unasked:

    up        the database answers, and its tables are as they should be
    gone      it does not, and why
    changed   users, tokens or page sessions may be others than before
    hit       somebody ran into a limit: its name, and who it was
    log       a line for the log
"""

from __future__ import annotations

import functools
import os
from typing import Any

from imageserver import limits as all_limits
from imageserver.accounts.database import UserDB
from imageserver.accounts.postgresql import audit, operations
from imageserver.accounts.remote.rights import LACKING
from imageserver.clock import SteadyClock
from imageserver.config import database
from imageserver.errors import SettingError
from imageserver.inference.shared import wire
from imageserver.limits import Limits
from imageserver.sidecar import program
from imageserver.sidecar.program import Answerer, Server

THREADS = 16
"""Questions at the same time: look-ups, and passwords of which the server lets few be checked at once."""


def main() -> int:
    """Answer until the server says stop or is gone."""
    return program.run("Users in PostgreSQL, for ImageServer; the server starts this.", open_up, THREADS)


def open_up(server: Server, opening: wire.Message) -> Answerer:
    """Connect, and return what answers. SettingError: there is no driver here."""
    os.environ["HOME"] = opening["home"]
    try:
        from imageserver.accounts.postgresql.database import PostgreSQL
        from imageserver.accounts.postgresql.guard import SharedGuard
    except ImportError as error:
        raise SettingError(LACKING.format(error)) from None
    all_limits.on_hit(lambda name, who: server.tell("hit", [name, who]))
    limits = Limits(**opening["limits"])
    place = PostgreSQL(
        database.parsed(opening["address"]),
        functools.partial(server.tell, "changed"),
        lambda why: server.tell("gone" if why else "up", why),
    )
    users = UserDB(place, limits=limits, clock=SteadyClock(functools.partial(server.tell, "log")))
    guard = SharedGuard(place, limits)
    place.begin()

    def answer(what: str, values: list[Any]) -> Any:
        match what:
            case "reserve":
                return guard.reserve(*values)
            case "settle":
                return guard.settle(*values)
            case "note":
                front_end, lines = values
                return audit.note(users, front_end, lines, limits.audit_rows)
            case _:
                return operations.answer(users, what, values)

    return answer
