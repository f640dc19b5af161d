"""The one way to make an HTTP application: a list of routes.

    Application([Route("GET", "/lenet/about", about, login=Login.USERS)], logins, log=print)

A route declares what it asks of a request before its view is called; logins, roles and errors are dealt with here,
for all of them. Whatever else routes will ask for (how often, how large a body, from which origins) is a field of
`Route` and a line in `Application._admit`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map, Rule

from imageserver.accounts.database import User
from imageserver.accounts.login import Logins
from imageserver.errors import Interrupted, NotAllowed, Refused, describe
from imageserver.web import basic_auth, requests
from imageserver.web.requests import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Login(enum.Enum):
    """Of whom a route asks a user's name and password (HTTP Basic)."""

    NEVER = "of nobody"
    AUTH = "of everybody, with --auth"
    USERS = "of everybody, with --auth and as soon as there is any user"
    PROGRAMS = "as USERS, but not of browsers that want a page: they are led on to one, which asks for itself"


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests it takes, what it asks of them, and what answers.

    Attributes:
        method: GET takes HEAD as well, unless the route changes something.
        path: with variables as werkzeug.routing writes them, `/snippets/<number:identity>/`.
        view: called with the request and the path's variables; returns a response or raises; each error has its answer.
        login: of whom a login is asked.
        roles: a user who had to log in needs one of them; empty: none.
        changes: whether a GET changes something too, so that no page of another site may make a browser send it.
    """

    method: str
    path: str
    view: Callable[..., WSGIApplication]
    login: Login = Login.NEVER
    roles: frozenset[str] = frozenset()
    changes: bool = False


class Application:
    """A WSGI application.

    Args:
        routes: What it answers.
        logins: Who may come in.
        log: Takes a line about what went wrong in the server.
        nothing: What a 404 says of a path that no route takes.
        converters: Variables of paths, by the name that routes use, beside those of werkzeug.routing.
        error_response: Makes the answer of a refusal; JSON, if nothing else is asked for.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        logins: Logins,
        *,
        log: Callable[[str], None],
        nothing: str = "there is nothing at this path",
        converters: Mapping[str, type[BaseConverter]] | None = None,
        error_response: Callable[[Refused], Response] = requests.json_error,
    ) -> None:
        self._logins, self._log, self._nothing, self._error_response = logins, log, nothing, error_response
        rules = Map(strict_slashes=False, merge_slashes=False, converters=converters)
        for route in routes:
            rule = Rule(route.path, endpoint=route, methods=[route.method])
            if route.changes:
                # HEAD comes with GET, and whoever asks for headers must change nothing (RFC 9110, section 9.2.1).
                rule.methods = {route.method}
            rules.add(rule)
        self._router = rules.bind("")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Populated, `environ` would hold the request that holds it.
        return self._respond(Request(environ, populate_request=False))(environ, start_response)

    def _respond(self, request: Request) -> WSGIApplication:
        try:
            route, variables = self._router.match(request.path, request.method)
            request.user = self._admit(request, route)
            response: WSGIApplication = route.view(request, **variables)
            return response
        except Interrupted as interrupted:
            raise interrupted.cause from None
        except Exception as error:  # noqa: BLE001 - whatever we forgot: this request fails, the server goes on
            return self._error_response(self._refusal(request, error))

    def _admit(self, request: Request, route: Route) -> User | None:
        """Who is asking; None where no login is asked for. Refused: 401 not logged in, 403 without the role."""
        user = self._user(request) if self._asks(request, route.login) else None
        if route.changes and request.headers.get("Sec-Fetch-Site") == "cross-site":
            # A browser sends stored credentials along with whatever another site's page links to.
            raise Refused(403, "this cannot be asked from another site's page")
        if user is not None and route.roles and not user.roles & route.roles:
            raise Refused(403, f"this takes a user with the role {' or '.join(sorted(route.roles))}")
        return user

    def _asks(self, request: Request, login: Login) -> bool:
        """Whether a login is asked of this request."""
        if login is Login.NEVER or (login is Login.PROGRAMS and request.wants_page):
            return False
        return self._logins.required if login is Login.AUTH else self._logins.checked()

    def _user(self, request: Request) -> User:
        """The user whose name and password the request carries. Refused: 401."""
        try:
            name, password = basic_auth.parse(request.headers.get("Authorization", ""))
            user = self._logins.check(name, password, request.environ.get("REMOTE_ADDR", ""), always=True)
            if user is None:
                raise NotAllowed("the user name or the password is wrong")
            request.account.belongs_to(user.name)
        except NotAllowed as error:
            raise Refused(401, str(error), WWW_Authenticate=basic_auth.REALM) from None
        return user

    def _refusal(self, request: Request, error: Exception) -> Refused:
        """What the client is told of `error`; the log is told what is the server's own fault."""
        if isinstance(error, NotFound):
            return Refused(404, self._nothing)
        if isinstance(error, MethodNotAllowed):
            allowed = ", ".join(sorted(error.valid_methods or ()))
            return Refused(405, f"{request.method[:32]} is not possible here; {allowed} is", Allow=allowed)
        refused = requests.refusal(error)
        if refused is not error and refused.status == 500:
            self._log(f"{request.method} {request.path[:200]!r} failed: {describe(error)}")
        return refused
