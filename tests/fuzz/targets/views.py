"""Bodies that change something over HTTP: the real views, as an admin asks them."""

from __future__ import annotations

import functools
import json
import math
import random
from typing import Any

from tests.fuzz.target import Defect, Target
from tests.protocols.http.asking import Asking, no_page

from imageserver.protocols.http.accounts import Accounts, TokenViews, UserViews
from imageserver.protocols.http.login import PageLogins

ROUTES = (
    ("PUT", "/users/eve"), ("PUT", "/users/%C3%A9?force=yes"), ("POST", "/tokens/"), ("POST", "/login"),
    ("DELETE", "/users/eve"), ("DELETE", "/tokens/"), ("GET", "/tokens/?"),
)  # fmt: skip
"""The first byte of an input chooses."""
TYPES = ("application/json", "application/x-www-form-urlencoded", "", "text/plain; charset=utf-16")


class World(Asking):
    """A server with an admin."""

    def __init__(self) -> None:
        super().__init__(login_attempts=10**6, max_tokens=50, max_pages=5, change_rate=10**6, look_rate=10**6)
        accounts = Accounts(self.logins, list_rows=100, log=self.log.append)
        self.serve(UserViews(accounts), TokenViews(accounts), PageLogins(accounts, 3600.0, no_page, str))
        self.add("root", "admin")


world = functools.cache(World)


def views(data: bytes) -> None:
    """A body for a view: done or refused in a sentence, and the admin is one still."""
    if len(data) < 2:
        return
    (method, path), kind, body = ROUTES[data[0] % len(ROUTES)], TYPES[data[1] % len(TYPES)], data[2:]
    found = world()(method, path, "" if path == "/login" else "root", data=body, content_type=kind)
    if found.status_code >= 500:
        raise Defect(f"{method} {path} is answered with {found.status_code}: {world().log[-1:]}")
    if found.status_code >= 400 and not 0 < len(found.json["error"]) < 4000:
        raise Defect(f"no sentence: {found.json['error'][:100]!r}")
    if "admin" not in world().users.get("root").roles:
        raise Defect("nobody is an admin any more")
    for token in world().users.tokens():
        world().users.revoke(token.identity)
    world().log.clear()


def view_body(chance: random.Random) -> bytes:
    """What a view takes, with values that it may not."""
    values: tuple[Any, ...] = (
        "eve", "", "x" * 200, "\ud800", "a\0b", 5, -1, 1e308, 10**400, True, None, [], ["camera"], ["root"],
        ["a\nb"], {}, math.nan, math.inf, 90, "lenet", "ist_" + "0" * 12 + "_" + "1" * 64, ["camera"] * 50,
        "e\u0301", "root",
    )  # fmt: skip
    fields = ("password", "roles", "model", "hz", "rotate", "only", "camera", "user", "days", "name", "other")
    said = {name: chance.choice(values) for name in chance.sample(fields, chance.randrange(5))}
    if chance.random() < 0.5:
        said["password"] = "a password"
    return bytes([chance.randrange(len(ROUTES)), chance.choice((0, 0, 0, 1, 2, 3))]) + json.dumps(said).encode()


TARGETS = [
    Target(
        name="views",
        run=views,
        seeds=tuple(view_body(random.Random(number)) for number in range(12)),
        covers=("protocols.http.accounts", "protocols.http.login", "web.json_body"),
        shape=view_body,
        longest=2**15,
        seconds=0.1,
        byte_seconds=1e-5,
        memory=2**20,
        byte_memory=400,
    ),
]
