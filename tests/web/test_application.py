"""Applications as lists of routes: who is asked to log in, who may, and how every error is answered and logged."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from tests.passwords import CHEAP
from werkzeug.test import Client

from imageserver.accounts.database import User, UserDB
from imageserver.accounts.doors import HTTP, Door, DoorTable, Login
from imageserver.accounts.login import Logins
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
from imageserver.limits import Limits
from imageserver.web import json_body, requests
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request, Response, answer

ADMIN = {"Authorization": "Basic " + base64.b64encode(b"ann:right").decode()}
VIEWER = {"Authorization": "Basic " + base64.b64encode(b"vic:right").decode()}
WRONG = {"Authorization": "Basic " + base64.b64encode(b"ann:wrong").decode()}
PAGE = {"Accept": "text/html,*/*;q=0.8"}


def logins(*, required: bool = False, users: bool = False) -> Logins:
    """With users: ann is an admin and vic a viewer; their password is `right`."""
    known = UserDB(None, CHEAP)
    if required or users:
        known.add("ann", "right", ["admin"])
        known.add("vic", "right", ["viewer"])
    return Logins(known, Limits(), required=required, log=lambda _line: None)


class Asked:
    """A client of an application with the views given, each with what its door asks, and what the application logged.

    `limits` and `users` make the `Access`; further options are those of `Application`.
    """

    def __init__(
        self,
        *views: tuple[str, str, Callable[..., Any], dict[str, Any]],
        users: Logins | None = None,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        self.log: list[str] = []
        table = DoorTable(Door(HTTP, method, path, **{"login": Login.NEVER, **asks}) for method, path, _, asks in views)
        access = Access(users or logins(), limits or Limits(), table)
        routes = [Route(method, path, view) for method, path, view, _asks in views]
        self.client = Client(Application(routes, access, log=self.log.append, **options))

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
        (Login.ALWAYS, 403, 401, 401),  # who is nobody yet is told how to become somebody
    ],
)
def test_who_is_asked_to_log_in(login: Login, nobody: int, users: int, required: int) -> None:
    kinds = (logins(), logins(users=True), logins(required=True))
    for kind, status in zip(kinds, (nobody, users, required), strict=True):
        ask = Asked(("GET", "/", who, {"login": login}), users=kind)
        found = ask()
        assert found.status_code == status
        assert ask(**WRONG).status_code == status, "a wrong password is one only where it is asked for"
        if kind is not kinds[0] and login is not Login.NEVER:
            assert ask(**ADMIN).json == {"user": "ann"}, "who logs in has a name also where nobody is asked"
        if status == 401:
            assert found.headers["WWW-Authenticate"].startswith("Basic ")
            assert list(found.json) == ["error"]


def test_browsers_are_led_on_where_programs_are_asked() -> None:
    ask = Asked(("GET", "/", who, {"login": Login.PROGRAMS}), users=logins(required=True))
    assert (ask(**PAGE).status_code, ask(Accept="*/*").status_code, ask().status_code) == (200, 401, 401)


def test_roles_are_looked_at_where_somebody_had_to_log_in() -> None:
    view = ("POST", "/", who, {"login": Login.AUTH, "roles": frozenset({"admin"})})
    assert Asked(view)(method="POST").status_code == 200
    ask = Asked(view, users=logins(required=True))
    assert ask(method="POST", **ADMIN).status_code == 200
    refused = ask(method="POST", **VIEWER)
    assert (refused.status_code, refused.json) == (403, {"error": "this takes a user with the role admin"})
    assert "WWW-Authenticate" not in refused.headers


def test_what_changes_something_is_for_no_other_sites_page_and_for_no_head() -> None:
    ask = Asked(("GET", "/start", who, {"changes": True}), ("GET", "/look", who, {}))
    assert ask("/start").status_code == ask("/look", "HEAD").status_code == 200
    assert ask("/start", Sec_Fetch_Site="same-origin").status_code == 200
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    for elsewhere in ("cross-site", "same-site"):
        assert ask("/start", **(link | {"Sec_Fetch_Site": elsewhere})).status_code == 403
        assert ask("/look", **(link | {"Sec_Fetch_Site": elsewhere})).status_code == 200
        assert ask("/look", Sec_Fetch_Site=elsewhere).status_code == 403, "a picture in a page, say"
    head = ask("/start", "HEAD")
    assert (head.status_code, head.headers["Allow"]) == (405, "GET")


def test_paths_and_methods_that_are_not_there() -> None:
    ask = Asked(("GET", "/a/<name>", lambda request, name: answer(name), {}), nothing="try /a/b")
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

    ask = Asked(("GET", "/", fail, {}))
    found = ask()
    assert (found.status_code, found.json) == (status, {"error": sentence})
    assert ("Retry-After" in found.headers) == (status in (418, 503))
    assert bool(ask.log) == (status == 500)
    if ask.log:
        assert ask.log[0].startswith("GET '/' failed: ")
        assert "test_application.py" in ask.log[0]
    text = Asked(("GET", "/", fail, {}), error_response=requests.text_error)()
    assert (text.status_code, text.text, text.mimetype) == (status, f"{sentence}\n", "text/plain")


def test_a_body_that_did_not_arrive_is_the_transports_business() -> None:
    def fail(_request: Request) -> Response:
        raise Interrupted(ConnectionResetError("gone"))

    ask = Asked(("GET", "/", fail, {}))
    with pytest.raises(ConnectionResetError):
        ask()
    assert not ask.log


def test_a_route_without_a_row_is_an_error_at_the_start() -> None:
    with pytest.raises(KeyError, match="/new"):
        Application([Route("GET", "/new", who)], Access(logins(), Limits()), log=print)  # type: ignore[arg-type]


def test_a_door_may_be_used_so_often_and_takes_so_much() -> None:
    asks = {"rate": "change_rate", "body": "max_json_bytes"}

    def take(request: Request) -> Response:
        if request.content_length:
            json_body.received(request)
        return answer(None)

    ask = Asked(("POST", "/", take, asks), limits=Limits(change_rate=2, max_json_bytes=1024))
    large = ask.client.post("/", data=b"x" * 1025)
    assert (large.status_code, large.json) == (413, {"error": "the body has 1025 bytes; at most 1024 are taken"})
    assert ask(method="POST").status_code == 200
    often = ask(method="POST")
    assert (often.status_code, int(often.headers["Retry-After"]) > 0) == (429, True)


def test_a_camera_says_its_name() -> None:
    def named(request: Request) -> Response:
        request.user = User("ann", only=("kitchen", "front door")) if "bound" in request.args else None
        return answer(request.camera)

    ask = Asked(("GET", "/", named, {}))
    assert [ask(path).json for path in ("/", "/?name=front%20door", "/?bound", "/?bound&name=front%20door")] == [
        "", "front door", "kitchen", "front door",
    ]  # fmt: skip
    assert (ask("/?bound&name=garden").status_code, ask("/?name=%07").status_code) == (404, 400)
