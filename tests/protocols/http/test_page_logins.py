"""Logins of pages: the cookie that stands for a password, what it is like, and how it ends."""

from __future__ import annotations

import base64
from http.cookies import SimpleCookie
from typing import Any

import pytest
from tests.protocols.http.asking import Asking, no_page

from imageserver.protocols.http.accounts import Accounts, TokenViews
from imageserver.protocols.http.login import PageLogins

HTTPS = {"wsgi.url_scheme": "https"}


class World(Asking):
    """A server with users of one role each, and browsers that keep no cookies by themselves."""

    def __init__(self, *, required: bool = False, **limits: Any) -> None:
        super().__init__(required=required, **limits)
        accounts = Accounts(self.logins, list_rows=self.limits.list_rows, log=self.log.append)
        self.serve(PageLogins(accounts, self.limits.page_time, no_page, str), TokenViews(accounts))
        for role in ("camera", "viewer", "admin"):
            self.add(role, role)

    def login(self, user: str, **more: Any) -> tuple[str, dict[str, Any]]:
        """The cookie as the browser sends it, and what was answered."""
        found = self("POST", "/login", json={"user": user, "password": user}, **more)
        assert found.status_code == 200, found.json
        return found.headers["Set-Cookie"].partition(";")[0], found.json

    def ask(self, cookie: str, path: str = "/tokens/", method: str = "GET", **more: Any) -> Any:
        headers = {"Cookie": cookie, **more.pop("headers", {})}
        return self(method, path, headers=headers, **more)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "how",
    [
        {"json": {"user": "viewer", "password": "viewer"}},
        {"data": {"user": "viewer", "password": "viewer"}},
        {"data": '{"user": "viewer", "password": "viewer"}', "content_type": "application/x-www-form-urlencoded"},
        {"headers": basic("viewer", "viewer")},
    ],
    ids=["JSON", "form", "curl --data", "Basic"],
)
def test_a_password_is_shown_once_then_the_cookie(how: Any) -> None:
    world = World()
    found = world("POST", "/login", **how)
    assert (found.status_code, found.json["user"], found.json["roles"]) == (200, "viewer", ["viewer"])
    assert found.headers["Cache-Control"] == "no-store"
    cookie = found.headers["Set-Cookie"].partition(";")[0]
    assert world.ask(cookie).status_code == 200
    assert cookie.partition("=")[2] not in found.text, "scripts do not get it"


@pytest.mark.parametrize(
    ("environ", "name", "secure", "path"),
    [
        ({}, "imageserver_session", False, "/"),
        (HTTPS, "__Host-imageserver_session", True, "/"),
        ({"SCRIPT_NAME": "/cameras"}, "imageserver_session", False, "/cameras/"),
        ({**HTTPS, "SCRIPT_NAME": "/cameras"}, "imageserver_session", True, "/cameras/"),
    ],
)
def test_the_cookie_is_for_this_server_and_no_script(environ: Any, name: str, secure: bool, path: str) -> None:
    world = World()
    found = world("POST", "/login", json={"user": "viewer", "password": "viewer"}, environ_overrides=environ)
    (morsel,) = SimpleCookie(found.headers["Set-Cookie"]).values()
    assert (morsel.key, bool(morsel["secure"]), morsel["path"]) == (name, secure, path)
    assert (bool(morsel["httponly"]), morsel["samesite"], morsel["domain"]) == (True, "Strict", "")
    assert morsel["max-age"] == str(int(world.limits.page_time))
    cookie = f"{morsel.key}={morsel.value}"
    assert world.ask(f"theme=dark; {cookie};x", environ_overrides=environ).status_code == 200
    if environ is HTTPS:
        stolen = f"imageserver_session={morsel.value}"
        assert world.ask(stolen, environ_overrides=HTTPS).status_code == 401, "over TLS none that could be planted"


@pytest.mark.parametrize("how", ["wrong", "nobody", "empty", "long", "huge name", "surrogate"])
def test_a_wrong_login_says_nothing_but_that(how: str) -> None:
    world = World()
    name, password = {
        "wrong": ("viewer", "x"),
        "nobody": ("nobody", "x"),
        "empty": ("", ""),
        "long": ("viewer", "x" * 5000),
        "huge name": ("v" * 5000, "x"),
        "surrogate": ("\ud800", "\udfff"),
    }[how]
    found = world("POST", "/login", json={"user": name, "password": password})
    assert found.status_code == 401
    assert found.json == {"error": "the user name or the password is wrong"}
    assert found.headers["WWW-Authenticate"].startswith("Bearer"), "at Basic a browser asks in a window of its own"
    assert "Set-Cookie" not in found.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"json": {"user": "viewer"}}, 400),
        ({"json": {"user": ["viewer"], "password": {}}}, 400),
        ({"json": []}, 400),
        ({"data": b""}, 400),
        ({"data": b"user=%ff&password=%00" + b"&a=b" * 9, "content_type": "application/x-www-form-urlencoded"}, 400),
        ({"data": b"\xff", "content_type": "application/x-www-form-urlencoded"}, 400),
        ({"data": b"{}", "content_type": "multipart/form-data; boundary=x"}, 415),
        ({"data": b"{" + b" " * 70_000, "content_type": "application/json"}, 413),
        ({"data": b"{}", "headers": {"Content-Encoding": "gzip"}}, 415),
        ({"headers": {"Authorization": "Basic ???"}}, 401),
    ],
)
def test_what_is_no_login_is_refused_before_anything_is_checked(body: Any, status: int) -> None:
    world = World()
    assert world("POST", "/login", **body).status_code == status
    assert not world.log


def test_guesses_are_paused_whatever_way_they_come() -> None:
    world = World(login_attempts=3)
    for number in range(3):
        how: dict[str, Any] = {"json": {"user": "viewer", "password": f"x{number}"}}
        assert world("POST", "/login", **(how if number else {"headers": basic("viewer", "x")})).status_code == 401
    found = world("POST", "/login", json={"user": "viewer", "password": "x"})
    assert found.status_code == 429
    assert int(found.headers["Retry-After"]) > 0


def test_a_token_begins_no_session_of_a_page() -> None:
    world = World()
    token = world("POST", "/tokens/", "viewer", json={}).json["token"]
    for how in ({"json": {"user": "viewer", "password": token}}, {"headers": {"Authorization": f"Bearer {token}"}}):
        found = world("POST", "/login", **how)  # type: ignore[arg-type]
        assert (found.status_code, "Set-Cookie" in found.headers) == (403, False)


def test_a_pages_script_whose_cookie_is_gone_makes_no_browser_ask_for_a_password() -> None:
    world = World()
    for headers, challenge in (({"X-Requested-With": "XMLHttpRequest"}, "Bearer"), ({}, "Basic")):
        found = world("GET", "/sessions/", headers=headers)
        assert found.status_code == 401
        assert found.headers["WWW-Authenticate"].startswith(challenge)


def test_logging_out_ends_it_and_the_cookie_is_forgotten() -> None:
    world = World()
    cookie, _answer = world.login("viewer")
    other, _answer = world.login("viewer")
    found = world.ask(cookie, "/logout", "POST")
    assert found.json == {"logged_out": True}
    assert "imageserver_session=; Max-Age=0; Path=/" in found.headers["Set-Cookie"]
    found = world.ask(cookie)
    assert (found.status_code, "log in again" in found.json["error"]) == (401, True)
    assert "Max-Age=0" in found.headers["Set-Cookie"]
    assert "Basic" not in found.headers["WWW-Authenticate"]
    assert world.ask(other).status_code == 200
    assert world("POST", "/logout", "viewer").json == {"logged_out": False}


@pytest.mark.parametrize("value", ["", "x", "isp_000000000000_" + "0" * 64, "x" * 20_000, "%00", '"', "ist_1_2"])
def test_a_cookie_that_is_none_is_401_where_a_login_is_asked_and_nobody_elsewhere(value: str) -> None:
    world = World()
    found = world.ask(f"imageserver_session={value}")
    assert found.status_code == 401
    assert ("Set-Cookie" in found.headers) is bool(value)


def test_a_password_counts_before_a_cookie() -> None:
    world = World()
    cookie, _answer = world.login("viewer")
    assert world.ask(cookie, headers=basic("viewer", "wrong")).status_code == 401
    assert world.ask("imageserver_session=x", headers=basic("viewer", "viewer")).status_code == 200


def test_sessions_end_when_nobody_uses_them_and_in_any_case() -> None:
    world = World(page_idle=100.0, page_time=1000.0)
    cookie, _answer = world.login("viewer")
    for _number in range(12):
        world.now += 80
        assert world.ask(cookie).status_code == 200
        world.users._marks.settle()  # a thread writes when it was used
    world.now += 80
    assert world.ask(cookie).status_code == 401
    cookie, _answer = world.login("viewer")
    world.now += 101
    assert world.ask(cookie).status_code == 401


def test_another_password_ends_them_all() -> None:
    world = World()
    cookies = [world.login("viewer")[0] for _number in range(3)]
    world.users.passwd("viewer", "new")
    assert [world.ask(cookie).status_code for cookie in cookies] == [401] * 3


def test_a_thousand_of_one_user_are_as_many_as_allowed() -> None:
    world = World(max_pages=5, change_rate=0)
    cookies = [world.login("viewer")[0] for _number in range(1000)]
    other, _answer = world.login("camera")
    assert [world.ask(cookie).status_code for cookie in cookies[-6:]] == [401] + [200] * 5
    assert len(world.ask(cookies[-1], "/sessions/").json) == 5
    assert world.ask(other).status_code == 200, "and nobody else's are fewer"


def test_logins_of_one_address_are_so_many_a_minute() -> None:
    world = World(change_rate=3)
    for _number in range(3):
        world.login("viewer")
    assert world("POST", "/login", json={"user": "viewer", "password": "viewer"}).status_code == 429


def test_sessions_are_listed_and_revoked_ones_own_and_by_an_admin_all() -> None:
    world = World()
    (mine, about), (other, others) = world.login("viewer"), world.login("camera")
    (row,) = world.ask(mine, "/sessions/").json
    assert (row["id"], row["user"], row["current"], row["begun"]) == (
        about["id"],
        "viewer",
        True,
        "2027-01-15T08:00:00Z",
    )
    assert mine.split("_")[-1] not in world("GET", "/sessions/", "admin").text
    assert [row["current"] for row in world("GET", "/sessions/", "admin").json] == [False, False]
    assert world.ask(mine, f"/sessions/{others['id']}", "DELETE").status_code == 404, "others' are as good as none"
    token = world("POST", "/tokens/", "viewer", json={}).json["id"]
    assert world.ask(mine, f"/sessions/{token}", "DELETE").status_code == 404, "a token is no session"
    assert world("DELETE", f"/sessions/{others['id']}", "admin").json == {"id": others["id"], "revoked": True}
    assert [world.ask(cookie).status_code for cookie in (mine, other)] == [200, 401]
    assert world.ask(mine, f"/sessions/{about['id']}", "DELETE").status_code == 200
    assert world.ask(mine).status_code == 401


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
@pytest.mark.parametrize(("method", "path"), [("POST", "/tokens/"), ("POST", "/logout"), ("POST", "/login")])
def test_no_page_of_another_site_uses_the_cookie_to_change_something(headers: Any, method: str, path: str) -> None:
    world = World()
    cookie, _answer = world.login("viewer")
    body = {"user": "viewer", "password": "viewer"} if path == "/login" else {}
    found = world.ask(cookie, path, method, json=body, headers=headers)
    assert (found.status_code, "Set-Cookie" in found.headers) == (403, False)
    assert world.ask(cookie).json == []
    own = world.ask(cookie, path, method, json=body, headers={"Origin": "http://localhost"})
    assert own.status_code in (200, 201)


def test_where_there_is_no_user_nobody_logs_in_and_is_told_how() -> None:
    world = World()
    for role in ("camera", "viewer", "admin"):
        world.users.remove(role)
    found = world("POST", "/login", json={"user": "viewer", "password": "viewer"})
    assert (found.status_code, "userdb.py" in found.json["error"]) == (403, True)
