"""Logins of pages: a browser shows a password once, then a cookie, which ends by itself and can be revoked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from imageserver.accounts import credentials, shown
from imageserver.accounts.credentials import CredentialKind, Credentials
from imageserver.accounts.database import PageSession, User
from imageserver.errors import LimitExceeded, LoginPaused, NotAllowed, Refused, UsersUnavailable
from imageserver.protocols.http.accounts import Accounts, asker
from imageserver.web import json_body, page_cookie, requests
from imageserver.web.access import NO_USERS
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

_TAG = "Logins of pages"
_FORM = "application/x-www-form-urlencoded"
_FIELDS = 8
WRONG = "the user name or the password is wrong"


class PageLogins:
    """The views /login, /logout and those under /sessions/.

    Args:
        accounts: The users.
        page_time: Seconds after which a session ends in any case.
        form: The page with the form, called with the request, a sentence on what was wrong, the page to go to
            afterwards as the browser said it, and a status code.
        local: That page as a path that is ours.
    """

    def __init__(
        self,
        accounts: Accounts,
        page_time: float,
        form: Callable[[Request, str, str, int], Response],
        local: Callable[[str], str],
    ) -> None:
        self._accounts, self._users, self._page_time = accounts, accounts.users, page_time
        self._page, self._local = form, local

    @operation(
        "POST",
        "/login",
        tag=_TAG,
        body="Login",
        body_optional=True,
        answers={200: "PageLogin", 401: "Error", 403: "Error"},
    )
    def login(self, request: Request) -> Response:
        """Begin a session of a page: name and password, in JSON, as a form, or by HTTP Basic.

        The answer sets a cookie that stands for them until it ends: when it was not used for `--page-idle`, after
        `--page-time`, with another password or other roles, or by `/logout`. A browser that sends the form of the
        login page is led on (303) to the page that its field `next` names.
        """
        if not (request.wants_page and request.mimetype == _FORM):
            return self._begin(request, self._shown(request))
        fields: dict[str, Any] = {}
        try:
            fields = self._form(request)
            response = self._begin(request, _pair(fields))
        except (Refused, LoginPaused, LimitExceeded, UsersUnavailable) as error:
            refused = requests.refusal(error)
            page = self._page(request, refused.sentence, str(fields.get("next", "")), refused.status)
            page.headers.extend({name: value for name, value in refused.headers.items() if name == "Retry-After"})
            return page
        return _led_to(self._local(str(fields.get("next", ""))), response.headers["Set-Cookie"])

    def _begin(self, request: Request, shown: Credentials) -> Response:
        """Begin a session for who shows the password. Refused: 401, 403."""
        address = request.environ.get("REMOTE_ADDR", "")
        user = self._accounts.logins.check(shown, address, f"{request.method} /login")
        if user is None and self._accounts.logins.nobody():
            raise Refused(403, NO_USERS)
        if user is None:
            raise Refused(401, WRONG, WWW_Authenticate=page_cookie.LOGIN)
        if user.credential != CredentialKind.PASSWORD.value:
            raise Refused(403, "a token begins no session of a page: log in with the password")
        try:
            value = self._accounts.ask(self._users.open_page, user, address)
        except NotAllowed:  # changed between the two looks
            raise Refused(401, WRONG, WWW_Authenticate=page_cookie.LOGIN) from None
        response = answer({"user": user.name, "roles": sorted(user.roles), "id": value.split("_")[1]})
        page_cookie.give(request, response, value, self._page_time)
        return response

    @operation("POST", "/logout", tag=_TAG, answers={200: "LoggedOut"})
    def logout(self, request: Request) -> Response:
        """End the session of the page that asks; its cookie is worth nothing from then on.

        A browser that sends a form is led (303) to the login page.
        """
        user = asker(request)
        kind, _, identity = user.credential.partition(" ")
        if kind == CredentialKind.PAGE.value:
            self._accounts.ask(self._users.revoke, identity, user.name)
        cleared = page_cookie.cleared(request)
        if request.wants_page:
            return _led_to("login", cleared)
        return answer({"logged_out": kind == CredentialKind.PAGE.value}, headers={"Set-Cookie": cleared})

    @operation("GET", "/sessions/", tag=_TAG, query=("after", "limit"), answers={200: "PageList", 400: "Error"})
    def sessions(self, request: Request) -> Response:
        """Your sessions of pages, in pages of a list; for admins those of all users."""
        own = asker(request).credential

        def described(each: PageSession) -> dict[str, Any]:
            current = own == f"{CredentialKind.PAGE.value} {each.identity}"
            return shown.page(each) | {"current": current}

        return self._accounts.page(request, self._accounts.ask(self._of, asker(request)), described)

    @operation("DELETE", "/sessions/<key:session>", tag=_TAG, answers={200: "Revoked"})
    def revoke(self, request: Request, session: str) -> Response:
        """End a session of yours, and its connections within two seconds; an admin may end anybody's."""
        user = asker(request)
        if not self._accounts.ask(lambda: any(each.identity == session for each in self._of(user))):
            raise Refused(404, f"there is no session {session[:64]!r}; /sessions/ lists them by their ids")
        self._accounts.ask(self._users.revoke, session, user.name)
        return answer({"id": session, "revoked": True})

    def _of(self, user: User) -> Sequence[PageSession]:
        """Whose sessions they see and revoke; blocks."""
        return self._users.pages(None if "admin" in user.roles else user.name)

    def _shown(self, request: Request) -> Credentials:
        """The name and password in the body, or else in the header. Refused: 400, 401."""
        if request.headers.get("Authorization"):
            try:
                return credentials.of_header(request.headers["Authorization"])
            except NotAllowed as error:
                raise Refused(401, str(error), WWW_Authenticate=credentials.CHALLENGE) from None
        return _pair(self._accounts.body(request) if request.mimetype != _FORM else self._form(request))

    def _form(self, request: Request) -> dict[str, Any]:
        """The fields of a form; JSON that calls itself one is taken as well, as curl sends it. Refused: 400, 413."""
        data = json_body.received(request)
        if data.startswith(b"{"):
            return json_body.parse(data)
        try:
            return dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=_FIELDS))
        except ValueError:
            raise Refused(400, f"the form is no text, or has more than {_FIELDS} fields") from None


def _pair(fields: Mapping[str, Any]) -> Credentials:
    """The name and password in a body. Refused: 400."""
    name, secret = fields.get("user"), fields.get("password")
    if not isinstance(name, str) or not isinstance(secret, str):
        raise Refused(400, 'send {"user": …, "password": …}, as JSON or as a form')
    return credentials.password(name, secret)


def _led_to(path: str, cookie: str) -> Response:
    """A browser goes on to a page beside this one, with what becomes of its cookie."""
    # Relative, and so right behind a proxy that has this server below a path of its own.
    return Response(status=303, headers={"Location": path or "./", "Set-Cookie": cookie, "Cache-Control": "no-store"})
