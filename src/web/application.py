"""The one way to make an HTTP application: a list of routes.

    Application([Route("GET", "/lenet/about", about)], access, log=print)

What a route asks of a request before its view is called (login, role, origin, how often, how large) stands in its row
of accounts/doors.py, and `Access` holds it for all of them; a route that has no row is an error at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map, Rule

from imageserver.errors import Interrupted, Refused, describe
from imageserver.transport.http.origins import is_preflight
from imageserver.web import requests
from imageserver.web.access import Access
from imageserver.web.requests import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests it takes, and what answers.

    Attributes:
        method: GET takes HEAD as well, unless its door changes something.
        path: with variables as werkzeug.routing writes them, `/snippets/<number:identity>/`.
        view: called with the request and the path's variables; returns a response or raises; each error has its answer.
        refused: answers a browser that wants a page and is refused one; None: as programs are answered.
    """

    method: str
    path: str
    view: Callable[..., WSGIApplication]
    refused: Callable[[Request, Refused], WSGIApplication] | None = None


class Application:
    """A WSGI application.

    Args:
        routes: What it answers.
        access: Who may pass which door. KeyError: a route has no row in its table.
        log: Takes a line about what went wrong in the server.
        nothing: What a 404 says of a path that no route takes.
        converters: Variables of paths, by the name that routes use, beside those of werkzeug.routing.
        error_response: Makes the answer of a refusal; JSON, if nothing else is asked for.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        access: Access,
        *,
        log: Callable[[str], None],
        nothing: str = "there is nothing at this path",
        converters: Mapping[str, type[BaseConverter]] | None = None,
        error_response: Callable[[Refused], Response] = requests.json_error,
    ) -> None:
        self._access, self._log, self._nothing, self._error_response = access, log, nothing, error_response
        self.routes = tuple(routes)
        rules = Map(strict_slashes=False, merge_slashes=False, converters=converters)
        for route in self.routes:
            door = access.table.http(route.method, route.path)
            rule = Rule(route.path, endpoint=(route, door), methods=[route.method])
            if door.changes:
                # HEAD comes with GET, and whoever asks for headers must change nothing (RFC 9110, section 9.2.1).
                rule.methods = {route.method}
            rules.add(rule)
        self._router = rules.bind("")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        origins = self._access.origins
        if refused := origins.refusal(environ):
            return self._error_response(Refused(403, refused))(environ, start_response)
        origins.drop_kept_logins(environ)
        told = environ["transport.headers"] = origins.headers(environ)
        # Populated, `environ` would hold the request that holds it.
        response = self._respond(Request(environ, populate_request=False))
        if told and isinstance(response, Response):
            response.headers.extend(told)
        return response(environ, start_response)

    def _respond(self, request: Request) -> WSGIApplication:
        route: Route | None = None
        try:
            if is_preflight(request.environ):
                return self._preflight(request)
            (route, door), variables = self._router.match(request.path, request.method)
            self._access.admit(request, door)
            response: WSGIApplication = route.view(request, **variables)
            self._access.passed(request, door)
            if isinstance(response, Response) and not response.is_sequence:
                self._access.watch(request, response)
            return response
        except Interrupted as interrupted:
            raise interrupted.cause from None
        except Exception as error:  # noqa: BLE001 - whatever we forgot: this request fails, the server goes on
            # Elsewhere: `refused` may be the error itself, which holds the variables of this frame, and so itself.
            return self._told(request, route, error)

    def _told(self, request: Request, route: Route | None, error: Exception) -> WSGIApplication:
        """The answer to a request that failed."""
        refused = self._refusal(request, error)
        if route is not None and route.refused is not None and request.wants_page:
            return route.refused(request, refused)
        return self._error_response(refused)

    def _preflight(self, request: Request) -> Response:
        """What a page of another origin may send to this path: its browser asks, and shows no login. NotFound."""
        methods = self._router.allowed_methods(request.path)
        if not methods:
            raise NotFound
        return Response(status=204, headers=self._access.origins.preflight(request.environ, methods))

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
