"""Headers of a request in; whether it is answered, and what a browser is told, out."""

from __future__ import annotations

import string
from typing import Any

import pytest
from tests.transport.http import field

from imageserver.transport.http.origins import LONGEST, Origins, is_preflight, looks_like_browser

OWN = "http://192.168.1.20:8080"
FRIEND, STRANGER = "https://friend.example", "http://evil.example"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def environ(method: str = "GET", scheme: str = "http", host: str | None = "192.168.1.20:8080", **headers: str) -> Any:
    """What an application gets of a request; `Sec_Fetch_Site="none"` is a header."""
    found = {"REQUEST_METHOD": method, "wsgi.url_scheme": scheme, "REMOTE_ADDR": "192.0.2.7"}
    found |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return found if host is None else found | {"HTTP_HOST": host}


class Asked:
    """Origins of which one is a friend, and what they logged."""

    def __init__(self, allowed: Any = (FRIEND,), names: Any = ("nas", "cams.example.org", "*.wild.example")) -> None:
        self.log: list[str] = []
        self.origins = Origins(allowed, names, log=self.log.append)

    def __call__(self, *arguments: Any, **headers: Any) -> bool:
        """Whether such a request is answered; a refusal is logged, with who asked."""
        self.log.clear()
        refused = self.origins.refusal(environ(*arguments, **headers))
        assert (refused == "") == (self.log == [])
        assert all("192.0.2.7" in line for line in self.log)
        return not refused


@pytest.mark.parametrize(
    ("headers", "browser"),
    [
        ({}, False),
        ({"User_Agent": "curl/8.5.0", "Accept": "*/*"}, False),
        ({"User_Agent": "okhttp/3.12.12", "Authorization": "Basic x"}, False),
        ({"User_Agent": "Dalvik/2.1.0 (Linux; U; Android 9)"}, False),
        ({"User_Agent": "python-requests/2.32.3", "Accept_Encoding": "gzip"}, False),
        ({"User_Agent": "kube-probe/1.30"}, False),
        ({"User_Agent": FIREFOX}, True),
        ({"Origin": OWN}, True),
        ({"Origin": "null"}, True),
        ({"Cookie": "page=1"}, True),
        ({"Sec_Fetch_Site": "none"}, True),
        ({"Sec_Fetch_Mode": "cors"}, True),
        ({"Sec_Fetch_Storage_Access": "none"}, True),
        ({"User_Agent": "", "Accept_Language": ""}, True),  # a script in Firefox may say another User-Agent
    ],
)
def test_what_looks_like_a_browser(headers: dict[str, str], browser: bool) -> None:
    assert looks_like_browser(environ(**headers)) is browser
    assert Asked()(host="evil.example", **headers) is not browser, "what no browser sends may name any host"


NAMES = [
    ("192.168.1.20", True),
    ("192.168.1.20:8080", True),
    ("8.8.8.8", True),
    ("0.0.0.0:8080", True),
    ("[::1]", True),
    ("[::1]:8080", True),
    ("[2001:DB8::7]:1", True),
    ("[::ffff:10.0.0.1]", True),
    ("localhost", True),
    ("LocalHost:8080", True),
    ("localhost.", True),
    ("camera.localhost", True),
    ("nas", True),
    ("NAS.:80", True),
    ("nas.local", True),
    ("Anything.At.LOCAL.", True),
    ("cams.example.org", True),
    ("CAMS.Example.Org.:443", True),
    ("one.wild.example", True),
    (None, False),
    ("", False),
    (".", False),
    (":8080", False),
    ("evil.example", False),
    ("127.0.0.1.evil.example", False),
    ("localhost.evil.example", False),
    ("nas.evil.example", False),
    ("nas.local.evil.example", False),
    ("evillocal", False),
    ("local", False),
    (".local", False),
    ("..local", False),
    ("a..local", False),
    (".localhost", False),
    ("xlocalhost", False),
    ("cams.example.org..", False),
    ("x.cams.example.org", False),
    ("example.org", False),
    ("wild.example", False),
    (".wild.example", False),
    ("two.one.wild.example", False),
    ("onewild.example", False),
    ("*.wild.example", False),
    ("[::1", False),
    ("::1", False),
    ("[::1]evil.example", False),
    ("[fe80::1%eth0]", False),
    ("[127.0.0.1]", False),
    ("127.1", False),
    ("2130706433", False),
    ("0x7f000001", False),
    ("0177.0.0.1", False),
    ("127.0.0.1.", True),
    ("127.0.0.1..", False),
    ("user@localhost", False),
    ("localhost@evil.example", False),
    ("evil.example#.local", False),
    ("xn--bcher-kva.example", False),
    ("localhost:80:80", False),
    ("nas:", True),
    ("a" * 600 + ".local", False),
]


@pytest.mark.parametrize(("host", "known"), NAMES)
def test_by_which_names_browsers_reach_the_server(host: str | None, known: bool) -> None:
    asked = Asked()
    assert asked(host=host, User_Agent=FIREFOX) is known
    assert asked(host=host, Origin=f"http://{host}") is known, "rebound, a page's own origin is that host"
    assert asked(host=host, Origin=FRIEND) is known
    assert asked(host=host)


def test_a_refused_host_is_named_with_the_remedy() -> None:
    asked = Asked()
    sentence = asked.origins.refusal(environ(host="evil.example", User_Agent=FIREFOX))
    assert all("'evil.example'" in said and "--server-name" in said for said in (sentence, *asked.log))
    asked(host="b" * 30_000, User_Agent=FIREFOX)
    assert len(asked.log[0]) < 1000


def test_names_may_come_later_and_in_any_writing() -> None:
    asked = Asked(names=())
    assert not asked(host="nas.lan", User_Agent=FIREFOX)
    asked.origins.know("NAS.lan.")
    assert asked(host="nas.lan", User_Agent=FIREFOX)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (OWN, True),
        (OWN.upper(), True),
        ("", True),
        (FRIEND, True),
        (FRIEND + ":443", True),
        (STRANGER, False),
        ("null", False),
        ("http://192.168.1.20", False),
        ("https://192.168.1.20:8080", False),
        ("http://192.168.1.20:8081", False),
        ("http://friend.example", False),
        ("https://friend.example:8443", False),
        ("https://friend.example.evil.example", False),
        ("https://x.friend.example", False),
        (f"{OWN},{STRANGER}", False),
        (f"{OWN} {STRANGER}", False),
        (OWN + "/", False),
        ("file://", False),
        ("https://" + "a" * LONGEST, False),
    ],
)
def test_pages_of_other_origins_may_use_nothing(origin: str, allowed: bool) -> None:
    asked = Asked()
    for method in ("GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE"):
        assert asked(method, Origin=origin) is allowed
        if not allowed:
            assert "--cors-origin" in asked.log[0]
            assert len(asked.log[0]) < LONGEST + 200
    assert Asked("*")(Origin=origin)


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "localhost", "http://localhost:80"),
        ("http", "localhost:80", "http://localhost"),
        ("https", "cams.example.org", "https://cams.example.org"),
        ("https", "cams.example.org:443", "https://cams.example.org"),
        ("http", "[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_default_port_may_be_said_or_not(scheme: str, host: str, origin: str) -> None:
    assert Asked()(scheme=scheme, host=host, Origin=origin)
    assert not Asked()(scheme="https" if scheme == "http" else "http", host=host, Origin=origin)


def test_null_is_an_origin_that_may_be_named() -> None:
    assert Asked(["null"])(Origin="null")
    assert not Asked(["null"])(Origin=STRANGER)


LINK = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
IMAGE = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}


@pytest.mark.parametrize(
    ("method", "headers", "allowed"),
    [
        ("GET", LINK, True),
        ("HEAD", LINK, True),
        ("GET", LINK | {"Sec_Fetch_Site": "same-site"}, True),
        ("GET", LINK | {"Sec_Fetch_Site": "none"}, True),
        ("GET", LINK | {"Referer": STRANGER + "/page"}, True),
        ("POST", LINK, False),
        ("GET", LINK | {"Sec_Fetch_Dest": "iframe"}, False),
        ("GET", LINK | {"Sec_Fetch_Dest": "iframe", "Referer": FRIEND + "/"}, True),
        ("GET", IMAGE, False),
        ("GET", IMAGE | {"Sec_Fetch_Site": "same-site"}, False),
        ("GET", IMAGE | {"Sec_Fetch_Site": "same-origin"}, True),
        ("GET", IMAGE | {"Referer": STRANGER + "/page"}, False),
        ("GET", IMAGE | {"Referer": FRIEND + "/page"}, True),
        ("GET", IMAGE | {"Referer": FRIEND}, True),
        ("GET", IMAGE | {"Referer": FRIEND + ".evil.example/"}, False),
        ("GET", IMAGE | {"Referer": f"{STRANGER}/?{FRIEND}/"}, False),
        ("GET", IMAGE | {"Referer": "about:blank"}, False),
        ("GET", IMAGE | {"Referer": FRIEND + "/", "Origin": STRANGER}, False),
        ("GET", IMAGE | {"Referer": STRANGER + "/", "Origin": FRIEND}, True),
        ("POST", {"Sec_Fetch_Site": "cross-site"}, False),
        ("POST", {"Sec_Fetch_Site": "same-site"}, False),
        ("POST", {"Sec_Fetch_Site": "same-origin"}, True),
    ],
)
def test_what_a_page_embeds_and_what_somebody_follows(method: str, headers: dict[str, str], allowed: bool) -> None:
    assert Asked()(method, **headers) is allowed
    assert Asked("*")(method, **headers)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"User_Agent": FIREFOX}, False),
        ({"User_Agent": FIREFOX, "Referer": STRANGER + "/"}, False),
        ({"User_Agent": FIREFOX, "Referer": OWN + "/page"}, True),
        ({"User_Agent": FIREFOX, "Referer": FRIEND + "/page"}, True),
        ({"User_Agent": FIREFOX, "Sec_Fetch_Site": "same-origin"}, True),
        ({"User_Agent": FIREFOX, "Origin": OWN}, True),
        ({"Accept_Language": "de", "Origin": FRIEND, "Referer": STRANGER}, True),
        (LINK, True),
    ],
)
def test_a_script_is_for_pages_that_are_known(headers: dict[str, str], allowed: bool) -> None:
    assert (Asked().origins.refusal(environ(**headers), script=True) == "") is allowed
    assert Asked("*").origins.refusal(environ(**headers), script=True) == ""


def test_programs_of_the_field_are_answered_under_any_name() -> None:
    for name, request in field.requests().items():
        found = environ()
        for line in request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]:
            title, _, value = line.partition(":")
            found["HTTP_" + title.upper().replace("-", "_")] = value.strip()
        foreign = found.get("HTTP_ORIGIN") == "null"
        assert (Origins().refusal(found) == "") is not foreign, name
        if "Mozilla" not in str(found) and "HTTP_ORIGIN" not in found:
            assert Origins().refusal(found | {"HTTP_HOST": "any.example"}) == "", name


def told(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name.removeprefix("Access-Control-"): value for name, value in headers}


def test_what_a_browser_is_told_of_an_answer() -> None:
    origins = Asked().origins
    assert origins.headers(environ()) == []
    friend = told(origins.headers(environ(Origin=FRIEND)))
    assert (friend["Allow-Origin"], friend["Allow-Credentials"], friend["Vary"]) == (FRIEND, "true", "Origin")
    assert {"Link", "Retry-After", "WWW-Authenticate", "Inference-Header-Content-Length"} <= set(
        friend["Expose-Headers"].split(", ")
    )


@pytest.mark.parametrize(
    ("headers", "embeds"),
    [
        ({"User_Agent": "curl/8.5.0"}, True),
        ({"User_Agent": FIREFOX}, False),
        ({"User_Agent": FIREFOX, "Referer": STRANGER + "/"}, False),
        ({"User_Agent": FIREFOX, "Referer": OWN + "/"}, False),  # which the own page may all the same
        ({"User_Agent": FIREFOX, "Referer": FRIEND + "/page"}, True),
        ({"User_Agent": FIREFOX, "Origin": FRIEND}, True),
    ],
)
def test_what_other_pages_may_show_without_reading_it(headers: dict[str, str], embeds: bool) -> None:
    policy = ("Cross-Origin-Resource-Policy", "same-origin")
    assert (policy in Asked().origins.headers(environ(**headers))) is not embeds
    assert policy not in Origins("*").headers(environ(**headers))
    assert policy not in Asked().origins.headers(environ(**headers), to_all=True)


def test_pages_that_only_the_asterisk_allows_send_no_logins_of_the_browser() -> None:
    everybody = Origins(["*", FRIEND])
    stranger = told(everybody.headers(environ(Origin=STRANGER)))
    assert (stranger["Allow-Origin"], "Allow-Credentials" in stranger) == ("*", False)
    assert told(everybody.headers(environ(Origin=FRIEND)))["Allow-Origin"] == FRIEND
    of_suite = told(everybody.headers(environ(Origin=STRANGER), to_all=True))
    assert (of_suite["Allow-Origin"], of_suite["Allow-Credentials"]) == (STRANGER, "true")
    assert everybody.trusts(environ(Origin=FRIEND))
    assert everybody.trusts(environ(Origin=OWN))
    assert everybody.trusts(environ())
    assert not everybody.trusts(environ(Origin=STRANGER))
    assert not everybody.trusts(environ(**IMAGE))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (None, None),
        ("", None),
        ("authorization,content-type", "authorization,content-type"),
        ("authorization, content-type", "authorization, content-type"),
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * (LONGEST + 1), None),
        (",".join("x" * 51), None),
        ("a,,b", None),
        ("a\tb", None),
        ("*", None),
        ("a;b", None),
    ],
)
def test_the_headers_asked_for_in_a_preflight_are_measured(asked: str | None, said: str | None) -> None:
    more = {} if asked is None else {"Access_Control_Request_Headers": asked}
    found = environ("OPTIONS", Origin=FRIEND, Access_Control_Request_Method="PUT", **more)
    answer = told(Asked().origins.preflight(found, ["PUT", "GET"]))
    assert answer.get("Allow-Headers") == said
    assert (answer["Allow-Methods"], answer["Max-Age"]) == ("GET, PUT", "600")
    assert "Allow-Private-Network" not in answer


def test_a_private_network_is_open_to_allowed_pages() -> None:
    found = environ("OPTIONS", Origin=FRIEND, Access_Control_Request_Private_Network="true")
    assert told(Asked().origins.preflight(found, ["GET"]))["Allow-Private-Network"] == "true"


def test_what_is_a_preflight() -> None:
    method = {"Access_Control_Request_Method": "PUT"}
    assert is_preflight(environ("OPTIONS", Origin=FRIEND, **method))
    assert not is_preflight(environ("OPTIONS", Origin=FRIEND))
    assert not is_preflight(environ("OPTIONS", **method))
    assert not is_preflight(environ("OPTIONS", Origin="", **method))
    assert not is_preflight(environ("PUT", Origin=FRIEND, **method))


def test_no_header_makes_it_fail() -> None:
    """Every printable character, and lengths around the limits, in each header that is taken apart."""
    asked = Asked()
    for name in ("Origin", "Referer", "Cookie", "Sec_Fetch_Site", "Access_Control_Request_Headers"):
        for value in (*string.printable, *(character * LONGEST for character in ":/[.,"), "a" * 40_000):
            found = environ("OPTIONS", Sec_Fetch_Mode="no-cors", **({"Sec_Fetch_Site": "cross-site"} | {name: value}))
            asked.origins.refusal(found)
            asked.origins.preflight(found, ["GET"])
    for value in (*string.printable, *(character * LONGEST for character in ":/[].,%"), "[" + "1:" * 200 + "]"):
        assert not asked(host=value, Cookie="")
