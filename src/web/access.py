"""Whether a request may pass its door: the login, the role, how often, how large. One for all HTTP applications."""

from __future__ import annotations

from imageserver.accounts import credentials, doors
from imageserver.accounts.credentials import CredentialKind, Credentials
from imageserver.accounts.database import User
from imageserver.accounts.doors import Door, DoorTable, Login
from imageserver.accounts.login import Logins
from imageserver.accounts.rates import Rates
from imageserver.errors import NotAllowed, Refused
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.http.origins import Origins
from imageserver.web import page_cookie
from imageserver.web.requests import MAX_BODY, Request, Response

NO_USERS = "there is no user yet: the first one is added at the machine itself, with userdb.py"

_NOTHING = "this needs a user name and password (HTTP Basic) or a token (Bearer)"
_WRONG = {
    CredentialKind.PASSWORD: "the user name or the password is wrong",
    CredentialKind.TOKEN: "the token is wrong, or holds no longer",
    CredentialKind.PAGE: credentials.PAGE_ENDED,
}
_ELSEWHERE = ("cross-site", "same-site")
"""What browsers say of pages of other origins."""


class Access:
    """Admits requests, each by the row of its door.

    Args:
        logins: Who may come in.
        limits: How often, and how large.
        table: The rows.
        origins: Which web pages may ask; by default the server's own alone.
    """

    def __init__(
        self, logins: Logins, limits: Limits, table: DoorTable = doors.TABLE, origins: Origins | None = None
    ) -> None:
        self.table, self.origins = table, origins or Origins()
        self.leaving = False
        """Whether the server is about to stop, and begins nothing that lasts."""
        self._logins, self._rates = logins, Rates(limits)
        self._largest = {
            "max_frame_bytes": min(MAX_BODY, limits.max_frame_bytes),
            "max_json_bytes": limits.max_json_bytes,
        }

    def admit(self, request: Request, door: Door) -> None:
        """Let a request pass: its `user` is then who is asking, and `most` what it may bring.

        Raises:
            Refused: not logged in (401), without the role or from another site's page (403), too often (429), or the
                server is leaving (503).
        """
        if self.leaving and door.lasts:
            raise Refused(503, "the server is stopping", Retry_After="1")
        self._check_page(request, door)
        user = request.user = self._user(request, door)
        if sentence := door.refuses(user):
            raise Refused(403, sentence)
        if wait := self._rates.take(door, request.account.owner):
            sentence = f"too many such requests in a minute; try again in {wait:.0f} seconds"
            raise Refused(429, sentence, Retry_After=str(int(wait) + 1))
        request.most = self._largest.get(door.body, 0)

    def watch(self, request: Request, response: Response) -> None:
        """Cut off an answer that is sent little by little once the login it is for holds no longer.

        Whoever takes it slowly, or follows what happens, would else have it for as long as they like.
        """
        connection = request.environ.get("transport.connection")  # under another WSGI server than ours there is none
        if request.user is not None and connection is not None:
            login = self._logins.live.add(request.user, lambda _why: hub.shut(connection.sock))
            response.call_on_close(login.close)

    def passed(self, request: Request, door: Door) -> None:
        """Note that a request has done what its door is for, where the audit has a word for that."""
        if door.event:
            user = request.user
            self._logins.audit.note(
                door.event,
                user="" if user is None else user.name,
                credential="" if user is None else user.credential,
                address=request.environ.get("REMOTE_ADDR", ""),
                door=door.name,
                detail=request.path,
            )

    def _check_page(self, request: Request, door: Door) -> None:
        """Refuse what no page of another origin may ask of this door, although it may ask others. Refused: 403."""
        linked = "Origin" not in request.headers and request.headers.get("Sec-Fetch-Site") in _ELSEWHERE
        # A browser sends stored credentials along with whatever another site's page links to.
        if (door.changes and linked) or not (door.foreign or self.origins.is_own(request.environ)):
            raise Refused(403, "this cannot be asked from another site's page")

    def _user(self, request: Request, door: Door) -> User | None:
        """Who is asking; None: nobody knows, and nobody had to say. Refused: 401."""
        if door.login is Login.NEVER:
            return None
        address = request.environ.get("REMOTE_ADDR", "")
        asked = self._logins.asked(door.login) and not (door.login is Login.PROGRAMS and request.wants_page)
        check = self._logins.check if asked else self._logins.identify
        try:
            shown = self._shown(request)
            user = check(shown, address, door.name, each=False) if shown else None
            if user is None and asked:
                raise NotAllowed(_WRONG[shown.kind] if shown else _NOTHING)
        except NotAllowed as error:
            if not asked:
                return None
            raise self._not_logged_in(request, door, str(error)) from None
        if user is not None:
            request.account.belongs_to(user.name)
        return user

    def _shown(self, request: Request) -> Credentials | None:
        """What a request shows; its cookie counts where nothing else is. NotAllowed."""
        if header := request.headers.get("Authorization", ""):
            return credentials.of_header(header)
        cookie = page_cookie.shown(request)
        return credentials.page(cookie) if cookie else None

    def _not_logged_in(self, request: Request, door: Door, sentence: str) -> Refused:
        """What to say where a login is asked, and there was none or a wrong one. UsersUnavailable."""
        if door.login is Login.ALWAYS and self._logins.nobody():
            return Refused(403, NO_USERS)
        if not request.headers.get("Authorization"):
            if page_cookie.shown(request):
                headers = {"WWW_Authenticate": page_cookie.LOGIN, "Set_Cookie": page_cookie.cleared(request)}
                return Refused(401, sentence, **headers)
            if request.headers.get("X-Requested-With") == "XMLHttpRequest":  # a page whose cookie is gone
                return Refused(401, sentence, WWW_Authenticate=page_cookie.LOGIN)
        return Refused(401, sentence, WWW_Authenticate=credentials.CHALLENGE)
