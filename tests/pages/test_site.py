"""The pages over real sockets: who gets which, where others are led, and what they are made of."""

from __future__ import annotations

import gzip
import html.parser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.pages.serving import with_users
from tests.running import PATIENCE, Server

from imageserver.pages.assets import FOLDER
from imageserver.pages.site import PAGES, local

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "User-Agent": "Mozilla/5.0"}
FIRST_PAINT = 100_000
"""Bytes over the wire until a page stands."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With `-a`, and a user of each role."""
    with with_users(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """That asks nobody who they are."""
    with Server(data=tmp_path_factory.mktemp("open")) as running:
        yield running


def ask(server: Server, path: str, user: str = "", method: str = "GET", **more: Any) -> requests.Response:
    """As a browser asks; redirects are not followed."""
    headers = BROWSER | more.pop("headers", {})
    auth = (user, user) if user else None
    return requests.request(
        method, server.url + path, headers=headers, auth=auth, timeout=PATIENCE, allow_redirects=False, **more
    )


def about(page: requests.Response) -> Any:
    found = re.search(r'<script type="application/json" id="about">(.*?)</script>', page.text, re.DOTALL)
    assert found
    return json.loads(found[1])


class Links(html.parser.HTMLParser):
    """What a page asks for and leads to, and what its policy would not let happen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.files: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        if tag in ("script", "img", "link"):
            self.files += [found[name] for name in ("src", "href") if name in found]
        elif tag in ("a", "form"):
            self.links += [found[name] for name in ("action", "href") if name in found]
        if (tag == "script" and "src" not in found and found.get("type") != "application/json") or tag == "style":
            self.inline.append(tag)


@pytest.mark.parametrize("path", ["/", "/camera", "/login"])
def test_without_logins_everybody_gets_every_page(open_server: Server, path: str) -> None:
    page = ask(open_server, path)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    found = about(page)
    assert (found["user"], found["roles"], found["auth"], found["changes"]) == (None, [], False, True)
    assert {"name": "echo", "title": "Echo", "stateful": False} in found["models"]
    assert found["model"] == "echo"


@pytest.mark.parametrize("path", ["/", "/camera", "/login"])
def test_a_page_is_held_by_its_policy(open_server: Server, path: str) -> None:
    page = ask(open_server, path)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy and "*" not in policy
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    found = Links(page.text)
    assert not found.inline, "the policy lets no inline script or style be"
    for link in (*found.files, *found.links):
        assert not re.match(r"/|[a-z]+:", link), f"{link} would lead elsewhere below a proxy's path"
    for file in found.files:
        assert ask(open_server, f"/{file}").status_code == 200, file


@pytest.mark.parametrize("path", ["/", "/camera"])
def test_the_first_paint_is_small_and_asks_nobody_else(open_server: Server, path: str) -> None:
    page = ask(open_server, path)
    files, total = {*Links(page.text).files}, len(page.content)
    seen: set[str] = set()
    while files - seen:
        file = (files - seen).pop()
        seen.add(file)
        with requests.get(
            f"{open_server.url}/{file}", headers={"Accept-Encoding": "gzip"}, timeout=PATIENCE, stream=True
        ) as answer:
            raw = answer.raw.read()
        total += len(raw) + 400  # its headers
        text = gzip.decompress(raw).decode() if answer.headers.get("Content-Encoding") else raw.decode()
        if file.endswith(".js"):
            for name in re.findall(r"""(?:from|import)\s*\(?['"]([^'"]+)['"]""", text):
                assert name.startswith("."), f"{file} imports {name}"
                files.add(str((Path("/") / file).parent.joinpath(name).resolve()).lstrip("/"))
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), f"{file} names another site"
    assert total <= FIRST_PAINT, total


@pytest.mark.parametrize(
    ("user", "path", "status"),
    [
        ("viewer", "/", 200), ("admin", "/", 200), ("camera", "/", 403),
        ("camera", "/camera", 200), ("admin", "/camera", 200), ("viewer", "/camera", 403),
    ],
)  # fmt: skip
def test_each_role_has_its_pages(server: Server, user: str, path: str, status: int) -> None:
    page = ask(server, path, user)
    assert page.status_code == status
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Content-Security-Policy" in page.headers
    if status == 403:
        assert "This takes a user with the role" in page.text
        links = Links(page.text).links
        allowed = {"viewer": {"./", "docs"}, "camera": {"camera", "docs"}}[user]
        body = Links(page.text.partition("<main")[2]).links
        assert allowed <= {*body} and "login" in links
    else:
        assert about(page)["user"] == user
        assert about(page)["changes"] is (user == "admin")


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/", "login?next="),
        ("/camera", "login?next=camera"),
        ("/camera?model=lenet", "login?next=camera%3Fmodel%3Dlenet"),
    ],
)
def test_who_is_not_logged_in_is_led_to_the_login(server: Server, path: str, where: str) -> None:
    answer = ask(server, path)
    assert (answer.status_code, answer.headers["Location"]) == (303, where)
    page = ask(server, f"/{where}")
    assert page.status_code == 200
    assert 'autocomplete="username"' in page.text and 'autocomplete="current-password"' in page.text
    assert (about(page)["models"], about(page)["version"]) == ([], ""), "nobody is told before the login"


def test_programs_are_answered_as_ever(server: Server) -> None:
    for path in ("/", "/camera"):
        answer = ask(server, path, headers={"Accept": "*/*"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (401, "application/json")
    answer = ask(server, "/", "viewer", headers={"Accept": "*/*"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/list_nn")


FORM = {"user": "viewer", "password": "viewer"}


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ("", "./"), ("camera", "camera"), ("camera?model=lenet&hz=5", "camera?model=lenet&hz=5"), ("docs", "docs"),
        ("//evil.example", "./"), ("https://evil.example/", "./"), ("/camera", "./"), ("\\\\evil.example", "./"),
        ("camera/../..//evil.example", "./"), ("javascript:alert(1)", "./"), ("docs\r\nSet-Cookie: a=b", "./"),
        ("nothing", "./"), ("camera#x", "./"), (".", "./"),
    ],
)  # fmt: skip
def test_the_form_leads_to_pages_of_ours_alone(server: Server, wanted: str, where: str) -> None:
    answer = ask(server, "/login", method="POST", data=FORM | {"next": wanted})
    assert (answer.status_code, answer.headers["Location"]) == (303, where)
    cookie = answer.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict"))
    page = ask(server, "/", headers={"Cookie": cookie.partition(";")[0]})
    assert about(page)["user"] == "viewer"


def test_what_was_wrong_stands_above_the_form(server: Server) -> None:
    page = ask(server, "/login", method="POST", data={"user": "viewer", "password": "wrong", "next": "camera"})
    assert page.status_code == 401
    assert "The user name or the password is wrong." in page.text
    assert 'name="next" value="camera"' in page.text
    assert "Set-Cookie" not in page.headers and "wrong" not in re.sub("is wrong", "", page.text)
    assert ask(server, "/login", method="POST", data={"user": "viewer"}).status_code == 400
    markup = ask(server, "/login", method="POST", data={"user": "x", "password": "x", "next": '"><script>'})
    assert "<script>" not in markup.text


def test_the_form_of_another_site_is_refused(server: Server) -> None:
    evil = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = ask(server, "/login", method="POST", data=FORM, headers=evil)
    assert answer.status_code == 403 and "Set-Cookie" not in answer.headers
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(server, "/login", method="POST", data=FORM, headers=linked).status_code == 403


def test_signing_out_leads_to_the_login_and_ends_the_cookie(server: Server) -> None:
    cookie = ask(server, "/login", method="POST", data=FORM).headers["Set-Cookie"].partition(";")[0]
    answer = ask(server, "/logout", method="POST", headers={"Cookie": cookie})
    assert (answer.status_code, answer.headers["Location"]) == (303, "login")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    ended = ask(server, "/", headers={"Cookie": cookie})
    assert ended.status_code == 303, "as if there were none"


def test_a_file_is_sent_once_and_then_known(open_server: Server) -> None:
    path = "/pages/shared/base.css"
    plain = ask(open_server, path, headers={"Accept-Encoding": "identity"})
    small = ask(open_server, path, headers={"Accept-Encoding": "gzip, br"})
    assert plain.content == small.content == (FOLDER / "shared/base.css").read_bytes()
    assert "Content-Encoding" not in plain.headers and small.headers["Content-Encoding"] == "gzip"
    assert int(small.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    assert plain.headers["ETag"] != small.headers["ETag"], "two representations (RFC 9110, section 8.8.3)"
    assert {plain.headers["Vary"], small.headers["Vary"]} == {"Accept-Encoding"}
    for answer, coding in ((plain, "identity"), (small, "gzip")):
        tag = answer.headers["ETag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            again = ask(open_server, path, headers={"Accept-Encoding": coding, "If-None-Match": known})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    refused = ask(open_server, path, headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert "Content-Encoding" not in refused.headers


@pytest.mark.parametrize(
    "path", ["/pages/", "/pages/none.js", "/pages/shared", "/pages/../site.py", "/pages/%2e%2e/site.py", "/pages/%00"]
)
def test_there_is_nothing_else_below_pages(open_server: Server, path: str) -> None:
    assert ask(open_server, path).status_code == 404


def test_the_files_are_open_to_all_for_the_login_page_needs_them(server: Server) -> None:
    answer = ask(server, "/pages/login/login.js")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("wanted", [*PAGES, "camera?a=b"])
def test_our_own_pages_are_local(wanted: str) -> None:
    assert local(wanted) == wanted


def test_a_page_that_cannot_be_had_now_says_why(tmp_path: Path) -> None:
    (tmp_path / "users.db").write_bytes(b"no database at all " * 9)
    with Server("--look-rate", "1", data=tmp_path) as server:
        live = ask(server, "/")
        assert live.status_code == 200 and about(live)["changes"] is False, "whether there are users cannot be known"
        again = ask(server, "/camera")
        assert again.status_code == 429 and int(again.headers["Retry-After"]) > 0
        assert "Too many such requests in a minute" in again.text and "This page cannot be shown now" in again.text
        assert "camera" in Links(again.text).links
