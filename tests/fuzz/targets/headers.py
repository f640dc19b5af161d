"""What a request's headers and its query say: who asks, of which page, with which login, for what."""

from __future__ import annotations

import base64
import contextlib
import http.cookies
import ipaddress
import urllib.parse
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.fuzz.target import Defect, Target

from imageserver.accounts import cameras, credentials
from imageserver.accounts.credentials import CredentialKind
from imageserver.errors import EngineRefusal, NotAllowed, Refused
from imageserver.limits import Limits
from imageserver.streams.names import Names
from imageserver.transport.budget import unlimited
from imageserver.transport.engineio.request import EngineRequest
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.origins import Origins, is_preflight, looks_like_browser
from imageserver.transport.websocket import frames
from imageserver.transport.websocket.connection import accept
from imageserver.web import page_cookie, query
from imageserver.web.requests import Request

ORIGINS = Origins(["https://friend.example", "null"], ["server.example", "*.cameras.example"])
PROXIES = ClientAddresses(["10.0.0.0/8", "::1"], 0, lambda _line: None)


UNLIKE_OTHERS = {"UPGRADE": "transport.upgrade", "CONTENT_TYPE": "CONTENT_TYPE", "CONTENT_LENGTH": "not taken"}
CONTROLS = dict.fromkeys([*range(9), *range(10, 32), 127])


def environ_of(data: bytes) -> dict[str, Any]:
    """A request out of lines, `Name: value`, the first one its method, its scheme and its query."""
    first, *lines = data.decode("latin-1").split("\n")
    method, _, rest = first.partition(" ")
    scheme, _, asked = rest.partition(" ")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method or "GET", "wsgi.url_scheme": "https" if scheme == "https" else "http",
        "PATH_INFO": "/",
        "SCRIPT_NAME": "", "QUERY_STRING": asked, "REMOTE_ADDR": "192.0.2.1", "SERVER_NAME": "a", "SERVER_PORT": "1",
    }  # fmt: skip
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            name = name.upper().replace("-", "_")
            # The transport lets no control through.
            shown = value.strip().translate(CONTROLS)
            environ[UNLIKE_OTHERS.get(name, f"HTTP_{name}")] = shown
    return environ


def origin(data: bytes) -> None:
    """Whether a page may ask; a page of another origin that says so never may."""
    environ = environ_of(data)
    refused = ORIGINS.refusal(environ)
    ORIGINS.refusal(environ, script=True)
    headers = dict(ORIGINS.headers(environ))
    ORIGINS.preflight(environ, ("GET",))
    is_preflight(environ)
    for name, value in headers.items():
        if "\r" in value or "\n" in value or len(name) > 100:
            raise Defect(f"a header {name}: {value!r}")
    said, host = environ.get("HTTP_ORIGIN", ""), environ.get("HTTP_HOST", "")
    if not said or refused:
        return
    if not looks_like_browser(environ):
        raise Defect("only browsers say Origin")
    if said.lower().removesuffix(":443") in ("https://friend.example", "null"):
        return
    with contextlib.suppress(ValueError):
        page, own = urllib.parse.urlsplit(said), urllib.parse.urlsplit(f"{environ['wsgi.url_scheme']}://{host}")
        ports = {"http": 80, "https": 443}
        if (page.scheme, page.hostname, page.port or ports.get(page.scheme)) != (
            own.scheme, own.hostname, own.port or ports.get(own.scheme),
        ):  # fmt: skip
            raise Defect(f"a page of {said!r} may use {host!r}")


def forwarded(data: bytes) -> None:
    """Who is behind proxies: an address, and the last one that no proxy of ours could have made up."""
    peer, _, header = data.decode("latin-1").partition(" ")
    found = PROXIES.behind(peer, header)
    if found != peer:
        ipaddress.ip_address(found)
    if PROXIES.behind("192.0.2.9", header) != "192.0.2.9":
        raise Defect("somebody who is no proxy of ours was believed")
    if PROXIES.behind("10.0.0.1", f"{header}, 203.0.113.7") != "203.0.113.7":
        raise Defect(f"behind a proxy {header!r} was believed more than the proxy")


def login(data: bytes) -> None:
    """Credentials and cookies; what was put in comes out."""
    text = data.decode("latin-1")
    with contextlib.suppress(NotAllowed):
        shown = credentials.of_header(text)
        if shown.kind is CredentialKind.PASSWORD and shown.name.count(":"):
            raise Defect(f"a name with a colon: {shown.name!r}")
    name, _, secret = data.partition(b":")
    header = "Basic " + base64.b64encode(name + b":" + secret).decode()
    shown = credentials.of_header(header)
    encoding = "utf-8" if is_utf8(name) and is_utf8(secret) else "latin-1"
    if (shown.name.encode(encoding), shown.secret.encode(encoding)) != (name, secret):
        raise Defect(f"{name!r} and {secret!r} came as {shown.name!r} and {shown.secret!r}")
    value = page_cookie.shown(Request({**environ_of(b"GET"), "HTTP_COOKIE": text}, populate_request=False))
    if value and f"{page_cookie.NAME}={value}" not in text:
        raise Defect(f"{value!r} is in no cookie")
    plain = text.isascii() and text.isprintable() and '"' not in text and " " not in value
    if value and plain and text.count(page_cookie.NAME) == 1:
        jar = http.cookies.SimpleCookie()
        with contextlib.suppress(http.cookies.CookieError):
            jar.load(text)
            if page_cookie.NAME in jar and jar[page_cookie.NAME].value != value.strip():
                raise Defect(f"{value!r}, and {jar[page_cookie.NAME].value!r} by the standard library")


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def asked(data: bytes) -> None:
    """A query: what urllib reads of it, where it is read at all."""
    text = data.decode("latin-1")
    request = Request({**environ_of(b"GET"), "QUERY_STRING": text}, populate_request=False)
    fields = dict(reversed(urllib.parse.parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True)))
    with contextlib.suppress(Refused):
        found = query.text(request, "model", "default")
        if found != fields.get("model", "default") or len(found) > query.MAX_TEXT:
            raise Defect(f"{found!r} is not {fields!r:.300}")
    with contextlib.suppress(Refused):
        number = query.whole(request, "limit", 5, -3, 1000)
        if not -3 <= number <= 1000:
            raise Defect(f"{number} is not from -3 to 1000")
    with contextlib.suppress(Refused):
        query.choice(request, "order", ("newest", "oldest"))
    with contextlib.suppress(Refused):
        query.flag(request, "all")
    with contextlib.suppress(NotAllowed):
        camera(cameras.said(text), text)
    environ = {**environ_of(b"GET"), "QUERY_STRING": text}
    with contextlib.suppress(EngineRefusal):
        EngineRequest(environ, lambda *_said: None, ORIGINS).parse()


def camera(name: str, text: str) -> None:
    """The name of a camera: kept as it is, when it is said again."""
    if len(name) > cameras.MAX_CAMERA or cameras.checked(name) != name:
        raise Defect(f"{name!r} is too long, or does not stay what it is")
    again = cameras.said("name=" + urllib.parse.quote(name, safe=""))
    if again != name:
        raise Defect(f"{name!r}, said in {text!r:.200}, comes back as {again!r}")
    cameras.of_user((), "", name)


def named(data: bytes) -> None:
    """A name that came in a text, and what it is called of whom three cameras say it."""
    with contextlib.suppress(NotAllowed, UnicodeDecodeError):
        said = cameras.checked(data.decode())
        camera(said, "")
        if said:
            thrice(said)


def thrice(said: str) -> None:
    """Three cameras of one name are told apart, and leave nothing behind."""
    names = Names(cameras.is_route)
    texts = [names.take(n, said, user=f"user {n}", address="", connection=n).text for n in "123"]
    if [names.find(text) for text in texts] != [["1"], ["2"], ["3"]] or max(map(len, texts)) > cameras.MAX_CAMERA:
        raise Defect(f"{said!r} became {texts}")
    for text in texts[1:]:
        start, _, number = text.rpartition(" (")
        if number not in ("2)", "3)", "4)") or not said.startswith(start):
            raise Defect(f"{said!r} became {text!r}")
    for holder in "123":
        names.release(holder)
    if any(map(names.find, texts)):
        raise Defect(f"{said!r} is still there")


class Taken(Exception):
    """The socket was taken over."""


def handshake(data: bytes) -> None:
    """The handshake of a WebSocket: taken for a proper key alone."""

    def take_over() -> Any:
        raise Taken

    environ = environ_of(data)
    environ |= {"transport.connection": SimpleNamespace(take_over=take_over), "transport.account": unlimited()}
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    try:
        if accept(environ, Limits()) is not None:
            raise Defect("taken without its socket")
    except Taken:
        if len(base64.b64decode(key)) != 16 or environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
            raise Defect(f"taken with the key {key!r}") from None
        if frames.accept_key(key).isalnum() and len(frames.accept_key(key)) != 28:
            raise Defect(f"{frames.accept_key(key)!r} answers no key") from None


HOSTS = (
    "server.example",
    "localhost:8080",
    "[::1]:80",
    "10.0.0.1",
    "a.cameras.example",
    "evil.example",
    "SERVER.example.",
)
PAGES = (
    "https://friend.example", "http://server.example", "http://server.example:80", "null", "https://evil.example",
    "http://localhost:8080", "http://evil.example@server.example", "http://server.example:8080",
)  # fmt: skip


def some_headers(random: Random) -> bytes:
    lines = [f"{random.choice(('GET', 'OPTIONS', 'POST'))} {random.choice(('http', 'https'))} EIO=4"]
    lines.append(f"Host: {random.choice(HOSTS)}")
    values = {
        "Origin": PAGES, "Referer": [f"{page}/a" for page in PAGES], "Sec-Fetch-Site": ("cross-site", "none",
        "same-origin"),
        "Sec-Fetch-Mode": ("navigate", "cors"), "Sec-Fetch-Dest": ("document", "iframe"), "Cookie": ("a=b",),
        "Access-Control-Request-Method": ("PUT",), "Access-Control-Request-Headers": ("a, b", "x" * 600),
    }  # fmt: skip
    lines += [f"{name}: {random.choice(choices)}" for name, choices in values.items() if random.random() < 0.4]
    return "\n".join(lines).encode("latin-1")


def some_query(random: Random) -> bytes:
    names = ("name", "model", "limit", "order", "all", "EIO", "transport", "sid", "b64", "j", "n%61me")
    values = (
        "",
        "a",
        "%C3%A9",
        "e%CC%81",
        "%ff",
        "+",
        "%20x%20",
        "5",
        "-3",
        "0005",
        "%D9%A3",
        "newest",
        "yes",
        "polling",
        "4",
    )
    fields = [f"{random.choice(names)}={random.choice(values)}" for _ in range(random.choice((1, 2, 5, 40)))]
    return random.choice(("&", "&", "&", ";", "&&")).join(fields).encode()


_SHAKE = (
    b"GET http a\nUpgrade: websocket\nConnection: keep-alive, Upgrade\nSec-WebSocket-Version: 13\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)

TARGETS = [
    Target(
        name="origins",
        run=origin,
        seeds=(
            b"GET http a\nHost: server.example\nOrigin: http://server.example:80",
            b"GET https \nHost: localhost\nOrigin: https://friend.example\nSec-Fetch-Site: cross-site",
            b"OPTIONS http \nHost: 10.0.0.1\nOrigin: null\nAccess-Control-Request-Method: PUT",
            b"GET http \nHost: [::1]:80\nSec-Fetch-Site: cross-site\nReferer: http://evil.example/a",
        ),
        covers=("transport.http.origins",),
        words=(b"\nOrigin: ", b"\nHost: ", b"://", b":80", b"null", b"@", b".", b"[", b"]", b"*", b"server.example"),
        shape=some_headers, longest=2**15,
    ),
    Target(
        name="forwarded",
        run=forwarded,
        seeds=(b"10.0.0.1 203.0.113.5, 10.0.0.9", b"::1 unknown", b"192.0.2.1 1.1.1.1",
            b"10.0.0.1 2001:db8::1, 10.1.1.1"),
        covers=("transport.http.clients",),
        words=(b"10.0.0.1", b", ", b"::ffff:10.0.0.1", b"%eth0", b"unknown", b"[::1]:80"), longest=2**13,
    ),
    Target(
        name="logins",
        run=login,
        seeds=(
            b"Basic YW5uYTpzZWNyZXQ=", b"Bearer imageserver_token_a_b", b"a=b; imageserver_session=abc; c=d",
            b"anna:secret", b"basic =", b"\xe9:\xff", b"imageserver_session=",
        ),
        covers=("accounts.credentials", "web.page_cookie"),
        words=(b"Basic ", b"Bearer ", b"imageserver_session=", b"; ", b":", b"="), longest=2**13,
    ),
    Target(
        name="query",
        run=asked,
        seeds=(
            b"name=front%20door&limit=5", b"EIO=4&transport=polling&sid=a&b64=1",
            b"model=\xc3\xa9&order=oldest&all=yes",
            b"name=e%CC%81", b"a&b&c&name=", b"&".join([b"a=b"] * 33),
        ),
        covers=("web.query", "accounts.cameras", "transport.engineio.request"),
        words=(b"&name=", b"name=", b"%", b"%25", b"+", b"&", b"%C3", b"%CC%81", b"limit=-", b"%F0%9F%98%80"),
        shape=some_query, longest=2**13,
        byte_seconds=5e-6, byte_memory=300,  # each field is an object, four times over
    ),
    Target(
        name="camera-names",
        run=named,
        seeds=(b"front door", "é".encode(), "e\u0301".encode() * 30, "\u0344".encode() * 40, b" a ", "\u202e".encode(),
               "👩\u200d🔬🇨🇭".encode() * 16, b"door (2)", b"x (999999)", b"x" * 63),
        covers=("accounts.cameras", "streams.names"),
        words=("\u0301".encode(), "\u1e9b\u0323".encode(), "\ufb2c".encode(), "\uac00".encode(), b"\x85", b"\xc2\xa0"),
        longest=2**13,
    ),
    Target(
        name="websocket-handshake",
        run=handshake,
        seeds=(_SHAKE, _SHAKE.replace(b"13", b"8"), _SHAKE.replace(b"==", b""), _SHAKE.replace(b"dG", b"\n")),
        covers=("transport.websocket.connection", "transport.websocket.frames"),
        words=(b"\nUpgrade: ", b"Upgrade", b"=", b"\nSec-WebSocket-Key: "), longest=2**13,
    ),
]  # fmt: skip
