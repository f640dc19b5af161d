"""Pages of other origins at applications: refused before anything else, or answered with what their browsers need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.web.test_application import ADMIN, logins
from werkzeug.test import Client

from imageserver.accounts.doors import HTTP, Door, DoorTable, Login
from imageserver.errors import Interrupted, LimitExceeded, Refusal, Refused
from imageserver.limits import Limits
from imageserver.transport.http.origins import Origins
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request, Response, answer

FRIEND, STRANGER, OWN = "https://friend.example", "http://evil.example", "http://localhost"
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Site:
    """An application whose views count their calls, asked by pages."""

    def __init__(self, allowed: Any = (FRIEND,), *, required: bool = False) -> None:
        self.asked: list[Request] = []
        self.log: list[str] = []
        self.origins = Origins(allowed, ["cams.example.org"], log=self.log.append)
        rows = [
            Door(HTTP, "GET", "/look", Login.AUTH),
            Door(HTTP, "GET", "/limited", Login.AUTH, rate="look_rate"),
            Door(HTTP, "PUT", "/thing/<int:number>/", Login.AUTH, changes=True),
            Door(HTTP, "DELETE", "/thing/<int:number>/", Login.AUTH, changes=True),
            Door(HTTP, "POST", "/own", Login.AUTH, changes=True, foreign=False),
            Door(HTTP, "GET", "/events", Login.AUTH),
            *(Door(HTTP, "GET", path, Login.NEVER) for path in ("/busy", "/broken")),
        ]
        views: dict[str, Callable[..., Any]] = {"/events": self.events, "/busy": self.busy, "/broken": self.broken}
        routes = [Route(row.method, row.path, views.get(row.path, self.view)) for row in rows]
        access = Access(logins(required=required), Limits(look_rate=2), DoorTable(rows), self.origins)
        self.application = Application(routes, access, log=self.log.append)
        self.client = Client(self.application, use_cookies=False)

    def __call__(self, path: str, method: str = "GET", origin: str | None = None, **options: Any) -> Response:
        headers = options.pop("headers", {}) | ({} if origin is None else {"Origin": origin})
        return self.client.open(path, method=method, headers=headers, **options)

    def view(self, request: Request, number: int = 0) -> Response:
        self.asked.append(request)
        return answer({"number": number})

    def events(self, request: Request) -> Response:
        self.asked.append(request)
        return Response((b"data: 1\n\n" for _ in range(3)), mimetype="text/event-stream")

    def busy(self, _request: Request) -> Response:
        raise LimitExceeded("too many wait")

    def broken(self, _request: Request) -> Response:
        raise ZeroDivisionError


PATHS = [("/look", "GET"), ("/thing/1/", "PUT"), ("/thing/1/", "DELETE"), ("/events", "GET"), ("/nothing", "GET")]
PATHS += [("/look", "HEAD"), ("/look", "OPTIONS"), ("/own", "POST")]


@pytest.mark.parametrize(("path", "method"), PATHS)
def test_pages_of_others_get_nothing_and_change_nothing(path: str, method: str) -> None:
    site = Site(required=True)
    for headers in ({"Origin": STRANGER}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = site(path, method, headers=headers | ADMIN)
        assert refused.status_code == 403
        assert not any(name.startswith("Access-Control") for name, _value in refused.headers)
        if method != "HEAD":
            assert "--cors-origin" in refused.json["error"]
    assert not site.asked
    assert len(site.log) == 3
    assert all("127.0.0.1" in line or "origin" in line for line in site.log)


@pytest.mark.parametrize(("path", "method"), PATHS)
def test_a_page_whose_name_was_made_to_lead_here_gets_nothing(path: str, method: str) -> None:
    site = Site(allowed="*")
    for headers in ({"Origin": STRANGER}, {"User-Agent": "Mozilla/5.0"}, {"Cookie": "a=b"}, {"Sec-Fetch-Site": "none"}):
        assert site(path, method, headers=headers, base_url=STRANGER).status_code == 403
    assert not site.asked
    program = site("/look", base_url=STRANGER, headers={"User-Agent": "okhttp/3.12"})
    assert program.status_code == 200
    assert site("/look", base_url="http://cams.example.org", headers={"User-Agent": "Mozilla/5.0"}).status_code == 200


def test_links_from_elsewhere_lead_to_what_changes_nothing() -> None:
    site = Site()
    assert site("/look", headers=LINK).status_code == 200
    assert site("/thing/1/", "PUT", headers=LINK).status_code == 403


def test_the_own_page_needs_no_mention() -> None:
    site = Site(allowed=())
    assert site("/look", origin=OWN).status_code == site("/own", "POST", origin=OWN).status_code == 200


@pytest.mark.parametrize("allowed", [[FRIEND], "*"])
def test_pages_of_named_origins_may_read_every_answer(allowed: Any) -> None:
    site = Site(allowed)
    shown = "*" if allowed == "*" else FRIEND
    statuses = {"/look": 200, "/events": 200, "/nothing": 404, "/busy": 503, "/broken": 500, "/thing/1/": 405}
    for path, status in statuses.items():
        found = site(path, origin=FRIEND)
        assert found.status_code == status
        assert found.headers["Access-Control-Allow-Origin"] == shown
        assert ("Access-Control-Allow-Credentials" in found.headers) is (shown == FRIEND)
        assert "Retry-After" in found.headers["Access-Control-Expose-Headers"]
        assert found.headers["Vary"] == "Origin"
    for _ in range(3):
        last = site("/limited", origin=FRIEND)
    assert (last.status_code, last.headers["Access-Control-Allow-Origin"]) == (429, shown)
    refused = Site(allowed, required=True)("/look", origin=FRIEND)
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, shown)


def test_answers_to_others_are_as_they_were() -> None:
    found = Site()("/look")
    assert not any(name == "Vary" or name.startswith("Access-Control") for name, _value in found.headers)


def test_a_door_may_be_for_the_servers_own_pages_alone() -> None:
    site = Site()
    refused = site("/own", "POST", origin=FRIEND)
    assert (refused.status_code, refused.json) == (403, {"error": "this cannot be asked from another site's page"})
    assert site("/own", "POST").status_code == 200


def preflight(site: Site, path: str, origin: str, **more: str) -> Response:
    asked = {"Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "authorization,content-type"}
    headers = {name.replace("_", "-"): value for name, value in (asked | more).items()}
    return site(path, "OPTIONS", origin, headers=headers)


@pytest.mark.parametrize("required", [False, True])
def test_a_preflight_is_answered_without_a_login(required: bool) -> None:
    site = Site(required=required)
    found = preflight(site, "/thing/1/", FRIEND)
    assert (found.status_code, found.data) == (204, b"")
    assert found.headers["Access-Control-Allow-Methods"] == "DELETE, PUT"
    assert found.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert found.headers.getlist("Access-Control-Allow-Origin") == [FRIEND]
    assert found.headers["Access-Control-Max-Age"] == "600"
    assert "Access-Control-Allow-Private-Network" not in found.headers
    assert preflight(site, "/look", FRIEND).headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    private = preflight(site, "/look", FRIEND, Access_Control_Request_Private_Network="true")
    assert private.headers["Access-Control-Allow-Private-Network"] == "true"
    assert preflight(site, "/nothing", FRIEND).status_code == 404
    assert preflight(site, "/look", STRANGER).status_code == 403
    assert not site.asked


def test_options_without_being_a_preflight_is_a_method_like_others() -> None:
    found = Site()("/thing/1/", "OPTIONS")
    assert (found.status_code, found.headers["Allow"]) == (405, "DELETE, PUT")
    assert Site()("/thing/1/", "OPTIONS", FRIEND).status_code == 405


@pytest.mark.parametrize("shown", [{"Cookie": "page=secret"}, ADMIN, {"Authorization": "Negotiate x"}])
def test_what_browsers_show_by_themselves_counts_for_named_origins_alone(shown: dict[str, str]) -> None:
    site = Site(["*", FRIEND])
    for origin in (FRIEND, STRANGER, OWN, None):
        assert site("/look", origin=origin, headers=shown).status_code == 200
    assert [next(iter(shown)) in request.headers for request in site.asked] == [True, False, True, True]


def test_a_token_counts_for_all_who_may_ask() -> None:
    site = Site("*")
    assert site("/look", origin=STRANGER, headers={"Authorization": "Bearer ist_x_y"}).status_code == 200
    assert "Authorization" in site.asked[0].headers


def test_what_the_transport_answers_in_place_of_the_application_may_be_read_too() -> None:
    site = Site()

    def cut(_request: Request) -> Response:
        raise Interrupted(Refusal(413, "too large"))

    rows = [Door(HTTP, "GET", "/cut", Login.NEVER)]
    access = Access(logins(), Limits(), DoorTable(rows), site.origins)
    application = Application([Route("GET", "/cut", cut)], access, log=print)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/cut", "wsgi.url_scheme": "http", "HTTP_HOST": "localhost",
        "HTTP_ORIGIN": FRIEND, "QUERY_STRING": "",
    }  # fmt: skip
    with pytest.raises(Refusal):
        application(environ, lambda *_: None)  # type: ignore[arg-type, return-value]
    assert ("Access-Control-Allow-Origin", FRIEND) in environ["transport.headers"]


def test_a_refusal_is_made_as_the_application_makes_others() -> None:
    def as_text(refused: Refused) -> Response:
        return Response(refused.sentence, refused.status)

    application = Application([], Access(logins(), Limits(), DoorTable([])), log=print, error_response=as_text)
    found = Client(application).get("/", headers={"Origin": STRANGER})
    assert (found.status_code, "--cors-origin" in found.text) == (403, True)
