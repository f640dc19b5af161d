"""Applications as lists of routes: who is asked to log in, who may, and how every error is answered and logged."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from werkzeug.test import Client

from imageserver.accounts.database import User
from imageserver.errors import (
    BodyError,
    Interrupted,
    LimitExceeded,
    ManifestError,
    ModelError,
    PictureError,
    Refused,
    SettingError,
    TooLarge,
    UnknownModel,
)
from imageserver.web import requests
from imageserver.web.application import Application, Login, Route
from imageserver.web.requests import Request, Response, answer

ADMIN = {"Authorization": "Basic " + base64.b64encode(b"ann:right").decode()}
VIEWER = {"Authorization": "Basic " + base64.b64encode(b"vic:right").decode()}
WRONG = {"Authorization": "Basic " + base64.b64encode(b"ann:wrong").decode()}
PAGE = {"Accept": "text/html,*/*;q=0.8"}


class Door:
    """In place of Logins: ann is an admin and vic a viewer; their password is `right`."""

    def __init__(self, *, required: bool = False, users: bool = False) -> None:
        self.required, self._users = required, users

    def checked(self) -> bool:
        return self.required or self._users

    def check(self, name: str, password: str, _address: str, *, always: bool) -> User | None:
        roles = {"ann": frozenset({"admin"}), "vic": frozenset({"viewer"})}
        assert always
        return User(name, roles[name]) if password == "right" else None


class Asked:
    """A client of an application with the routes given, and what it logged."""

    def __init__(self, *routes: Route, door: Door | None = None, **options: Any) -> None:
        self.log: list[str] = []
        self.client = Client(Application(routes, door or Door(), log=self.log.append, **options))  # type: ignore[arg-type]

    def __call__(self, path: str = "/", method: str = "GET", **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.open(path, method=method, headers=named)


def who(request: Request) -> Response:
    return answer({"user": request.user.name if request.user else None})


@pytest.mark.parametrize(
    ("login", "nobody", "users", "required"),
    [
        (Login.NEVER, 200, 200, 200),
        (Login.AUTH, 200, 200, 401),
        (Login.USERS, 200, 401, 401),
        (Login.PROGRAMS, 200, 401, 401),
    ],
)
def test_who_is_asked_to_log_in(login: Login, nobody: int, users: int, required: int) -> None:
    route = Route("GET", "/", who, login)
    doors = (Door(), Door(users=True), Door(required=True))
    for door, status in zip(doors, (nobody, users, required), strict=True):
        ask = Asked(route, door=door)
        found = ask()
        assert found.status_code == status
        assert ask(**WRONG).status_code == status, "a wrong password is one only where it is asked for"
        name = "ann" if status == 401 else None
        assert ask(**ADMIN).json == {"user": name}
        if status == 401:
            assert found.headers["WWW-Authenticate"].startswith("Basic ")
            assert list(found.json) == ["error"]


def test_browsers_are_led_on_where_programs_are_asked() -> None:
    ask = Asked(Route("GET", "/", who, Login.PROGRAMS), door=Door(required=True))
    assert (ask(**PAGE).status_code, ask(Accept="*/*").status_code, ask().status_code) == (200, 401, 401)


def test_roles_are_looked_at_where_somebody_had_to_log_in() -> None:
    route = Route("POST", "/", who, Login.AUTH, frozenset({"admin"}))
    assert Asked(route)(method="POST").status_code == 200
    ask = Asked(route, door=Door(required=True))
    assert ask(method="POST", **ADMIN).status_code == 200
    refused = ask(method="POST", **VIEWER)
    assert (refused.status_code, refused.json) == (403, {"error": "this takes a user with the role admin"})
    assert "WWW-Authenticate" not in refused.headers


def test_what_changes_something_is_for_no_other_sites_page_and_for_no_head() -> None:
    ask = Asked(Route("GET", "/start", who, changes=True), Route("GET", "/look", who))
    assert ask("/start").status_code == ask("/look", "HEAD").status_code == 200
    assert ask("/start", Sec_Fetch_Site="same-origin").status_code == 200
    assert ask("/start", Sec_Fetch_Site="cross-site").status_code == 403
    assert ask("/look", Sec_Fetch_Site="cross-site").status_code == 200
    head = ask("/start", "HEAD")
    assert (head.status_code, head.headers["Allow"]) == (405, "GET")


def test_paths_and_methods_that_are_not_there() -> None:
    ask = Asked(Route("GET", "/a/<name>", lambda request, name: answer(name)), nothing="try /a/b")
    assert (ask("/a/b").json, ask("/a/b/").json) == ("b", "b")
    assert (ask("/x").status_code, ask("/x").json) == (404, {"error": "try /a/b"})
    wrong = ask("/a/b", "DELETE")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, HEAD")
    assert wrong.json == {"error": "DELETE is not possible here; GET, HEAD is"}


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (Refused(418, "tea", Retry_After="9"), 418, "tea"),
        (BodyError("no JSON"), 400, "no JSON"),
        (UnknownModel("no model x"), 404, "no model x"),
        (TooLarge("never"), 413, "never"),
        (PictureError("no picture"), 415, "no picture"),
        (LimitExceeded("too many wait"), 503, "too many wait"),
        (ModelError("the model failed"), 500, "the model failed"),
        (ManifestError("/home/me/model.toml: kind"), 500, requests.FAILED),
        (SettingError("/home/me/users.db"), 500, requests.FAILED),
        (OSError(28, "no space", "/home/me"), 500, requests.FAILED),
    ],
)
def test_every_error_is_answered_and_the_servers_own_are_logged(error: Exception, status: int, sentence: str) -> None:
    def fail(_request: Request) -> Response:
        raise error

    ask = Asked(Route("GET", "/", fail))
    found = ask()
    assert (found.status_code, found.json) == (status, {"error": sentence})
    assert ("Retry-After" in found.headers) == (status in (418, 503))
    assert bool(ask.log) == (status == 500)
    if ask.log:
        assert ask.log[0].startswith("GET '/' failed: ")
        assert "test_application.py" in ask.log[0]
    text = Asked(Route("GET", "/", fail), error_response=requests.text_error)()
    assert (text.status_code, text.text, text.mimetype) == (status, f"{sentence}\n", "text/plain")


def test_a_body_that_did_not_arrive_is_the_transports_business() -> None:
    def fail(_request: Request) -> Response:
        raise Interrupted(ConnectionResetError("gone"))

    ask = Asked(Route("GET", "/", fail))
    with pytest.raises(ConnectionResetError):
        ask()
    assert not ask.log
