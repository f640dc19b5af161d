"""HTTP operations without a server: the real router, door table, logins and users, in this process."""

from __future__ import annotations

import base64
from typing import Any
from unittest import mock

from tests.passwords import CHEAP
from werkzeug.test import Client, TestResponse

from imageserver.accounts.database import UserDB
from imageserver.accounts.login import Logins
from imageserver.limits import Limits
from imageserver.protocols.http import app
from imageserver.web.access import Access
from imageserver.web.requests import Response


def no_page(*_arguments: object) -> Response:
    """Where a page would be; tests/pages/ has them."""
    return Response("a page")


class Asking:
    """Asks the operations of some parts, as users of a database in memory whose passwords are their names.

    Args:
        required: Whether the server asks everybody for a login (`-a`).
        limits: What is not as by default.
    """

    def __init__(self, *, required: bool = False, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.log: list[str] = []
        self.now = 1_800_000_000.0
        self.users = UserDB(None, CHEAP, self.limits, clock=lambda: self.now)
        self.logins = Logins(self.users, self.limits, required=required, log=self.log.append)

    def serve(self, *parts: object) -> Asking:
        streams, trainings = mock.Mock(max_frame_bytes=2**20), mock.Mock()
        streams.engine.models = {}
        access = Access(self.logins, self.limits)
        options: dict[str, Any] = {
            "not_ready": lambda: None,
            "log": self.log.append,
            "most_followers": 1,
            "home": no_page,
            "pages": lambda _described: (),
        }
        self.client = Client(app.application(streams, access, trainings, *parts, **options), use_cookies=False)
        return self

    def add(self, name: str, *roles: str, **more: Any) -> None:
        self.users.add(name, name, roles, **more)

    def __call__(
        self, method: str, path: str, user: str = "", *, headers: dict[str, str] | None = None, **more: Any
    ) -> TestResponse:
        found = dict(headers or {})
        if user:
            found["Authorization"] = "Basic " + base64.b64encode(f"{user}:{user}".encode()).decode()
        return self.client.open(path, method=method, headers=found, **more)
