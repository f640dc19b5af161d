"""The pages: who may see which, and how each is made of its template.

A browser that is not logged in where that is asked is led to the login and back; one without the role is told so on a
page of its own. Programs get JSON at the same doors, as everywhere.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import imageserver
from imageserver.accounts import doors
from imageserver.accounts.database import User
from imageserver.accounts.doors import Door
from imageserver.accounts.login import Logins
from imageserver.errors import Refused, UsersUnavailable
from imageserver.inference.server.model import SharedModel
from imageserver.pages import qr
from imageserver.pages.assets import Assets
from imageserver.pages.docs import Docs
from imageserver.pages.rendering import rendered
from imageserver.transport import hub
from imageserver.web.application import Route
from imageserver.web.requests import Request, Response

TEMPLATES = Path(__file__).parent / "templates"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
"""The Content-Security-Policy of every page."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_OVER_TLS = {"Cross-Origin-Opener-Policy": "same-origin"}
"""Without TLS browsers know no such thing, and complain of it on the console."""

PAGES = {"": "Live", "camera": "Camera", "docs": "API"}
"""The pages that lead to one another, by their paths below the server's own, and what people call them."""

_NEXT = re.compile(r"([a-z]*)(\?[A-Za-z0-9_.~%&=+-]{0,512})?")
_LOOKS: Door = doors.TABLE.http("GET", "/streams/")
"""Who may see what streams, may see its page."""
_CHANGES: Door = doors.TABLE.http("POST", "/streams/<key:stream>")


class Pages:
    """The views of the pages.

    Args:
        logins: Says whether a login is asked.
        models: Those there are, by name.
        default: The name of the one that runs when none is asked for.
        listens: The address that the server listens on.
        https_port: Where it speaks HTTPS, beside its port.
    """

    def __init__(
        self,
        logins: Logins,
        models: Callable[[], Iterable[SharedModel]],
        default: str,
        *,
        listens: str,
        https_port: int | None,
    ) -> None:
        self._logins, self._models, self._default = logins, models, default
        self._listens, self._https_port = listens, https_port
        self._assets = Assets()
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
            auto_reload=False,
        )
        self._templates.filters["sentence"] = _sentence
        for name in self._templates.list_templates():
            self._templates.get_template(name)  # compiled before anybody asks

    def routes(self, describe: Callable[[Request], dict[str, Any]]) -> list[Route]:
        """The routes of all pages but `/` and `POST /login`, which answer programs as well.

        Args:
            describe: Gives the OpenAPI document for whoever asks.
        """
        return [
            Route("GET", "/docs", Docs(self.page, describe).docs, self.refused),
            Route("GET", "/login", self.login),
            Route("GET", "/camera", self.camera, self.refused),
            Route("GET", "/pages/camera.svg", self.code),
            Route("GET", "/pages/<path:file>", self._assets.answer),
        ]

    def live(self, request: Request) -> Response:
        """What streams now."""
        user = request.user
        if user is None and self._logins.asked(_LOOKS.login):
            return self.refused(request, Refused(401, "log in to see this page"))
        if sentence := _LOOKS.refuses(user):
            return self.refused(request, Refused(403, sentence))
        server = qr.server(request, self._listens, self._https_port)
        shown = server.rstrip("/") if server.startswith("https:") else server.partition("://")[2].rstrip("/")
        camera = qr.camera(server)
        link = "camera" if camera == qr.camera(request.host_url) else camera  # relative: a proxy may add a path
        return self.page("live.html", request, server=shown, camera=camera, link=link)

    def code(self, request: Request) -> Response:
        """The QR code that leads a phone to the camera page. Refused: 400."""
        address = qr.camera(qr.server(request, self._listens, self._https_port))
        try:
            picture = hub.in_thread(qr.svg, address)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return Response(picture, headers=HEADERS, mimetype="image/svg+xml")

    def camera(self, request: Request) -> Response:
        """A camera in a browser."""
        address = qr.camera(qr.server(request, self._listens, self._https_port))
        return self.page("camera.html", request, https=address if address.startswith("https:") else "")

    def login(self, request: Request, sentence: str = "", after: str | None = None, status: int = 200) -> Response:
        """The form for name and password.

        Args:
            request: Who asks for it, by `?next=` with the page to go to afterwards.
            sentence: What was wrong with what was sent in.
            after: The page to go to afterwards, where the request does not say it in its query.
            status: The answer's code.
        """
        wanted = request.args.get("next", "") if after is None else after
        return self.page("login.html", request, status, sentence=sentence, next=local(wanted))

    def refused(self, request: Request, refused: Refused) -> Response:
        """What a browser gets that may not see a page: the login, or a page that says why."""
        if refused.status == 401:
            query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
            wanted = urllib.parse.quote(local(request.path.lstrip("/") + query), safe="")
            headers = {name: value for name, value in refused.headers.items() if name == "Set-Cookie"}
            return Response(status=303, headers={"Location": f"login?next={wanted}", **headers, **HEADERS})
        role = refused.status == 403
        open_to = {path: name for path, name in PAGES.items() if role and self._may_see(request.user, path)}
        values = {"sentence": refused.sentence, "open_to": open_to, "role": role}
        page = self.page("refused.html", request, refused.status, **values)
        page.headers.extend({name: value for name, value in refused.headers.items() if name == "Retry-After"})
        return page

    def page(self, template: str, request: Request, status: int = 200, **values: Any) -> Response:
        """A page made of a template, with what it must know at once as `about`."""
        values |= {"about": self.about(request.user), "pages": PAGES, "here": request.path.strip("/")}
        return rendered(
            self._templates.get_template(template),
            request,
            values,
            status,
            HEADERS | (_OVER_TLS if request.is_secure else {}),
        )

    def about(self, user: User | None) -> dict[str, Any]:
        """What a page knows before it asks."""
        known = user is not None or not self._logins.required
        return {
            "version": imageserver.__version__ if known else "",
            "user": user.name if user else None,
            "roles": sorted(user.roles) if user else [],
            "auth": self._logins.required,
            "changes": self._may_change(user),
            "model": self._default if known else "",
            "models": [_described(model) for model in self._models() if known and model.manifest.listed],
        }

    def _may_change(self, user: User | None) -> bool:
        if user is not None:
            return not _CHANGES.refuses(user)
        try:
            return not self._logins.asked(_CHANGES.login)
        except UsersUnavailable:
            return False

    def _may_see(self, user: User | None, path: str) -> bool:
        door = doors.TABLE.http("GET", f"/{path}") if path else _LOOKS
        return not door.refuses(user)


def _described(model: SharedModel) -> dict[str, Any]:
    manifest = model.manifest
    return {"name": manifest.name, "title": manifest.title, "stateful": manifest.stateful}


def _sentence(text: str) -> str:
    """An error as a sentence of a page: errors begin small and end without a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def local(wanted: str) -> str:
    """A path below the server's own to which a login may lead, relative; "" (the first page) for any other."""
    found = _NEXT.fullmatch(wanted)
    return wanted if found and found[1] in PAGES else ""
