"""What comes in, over HTTP: a list of streams and sessions, the last prediction of one, and for admins the rudder."""

from __future__ import annotations

from imageserver.accounts.audit import Audit, AuditEvent
from imageserver.errors import Refused, UnknownModel
from imageserver.streams.options import configure
from imageserver.streams.overview import Incoming, Overview
from imageserver.streams.session import Session
from imageserver.web import json_body, lists, query, sight
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

_TAG = "Streams"
_LAST = 2**53
"""No stream's number is higher."""


class StreamViews:
    """The views under /streams/.

    Args:
        overview: Of all that comes in.
        most_hz: Frames a second that a stream may be given, 0 for no cap.
        list_rows: Rows in one answer of a list.
        audit: Told of what is done to others' streams.
    """

    def __init__(self, overview: Overview, *, most_hz: float, list_rows: int, audit: Audit) -> None:
        self._overview, self._most_hz, self._audit = overview, most_hz, audit
        self._list_rows = list_rows

    @operation("GET", "/streams/", tag=_TAG, query=("after", "limit"), answers={200: "StreamList", 400: "Error"})
    def streams(self, request: Request) -> Response:
        """The streams and sessions there are, in the order in which they began, in pages.

        `fps_in` and `fps_answered` are frames a second over the last 5 to 10 seconds; `age_ms` and `size` are those
        of the last prediction, null before there is one. Users who are bound to cameras see theirs only. When there
        are more than one answer holds, its `Link` header leads to the next ones.
        """
        after = query.whole(request, "after", 0, 0, _LAST)
        wanted = lists.asked(request, self._list_rows)
        rows: list[str] = []
        last = 0
        for one in self._overview.incoming(after):
            if not sight.sees(request.user, one):
                continue
            if len(rows) == (wanted or self._list_rows):
                return lists.page(lists.array(rows), f"/streams/?after={last}&limit={len(rows)}", wanted)
            rows.append(lists.encode(self._overview.described(one)))
            last = one.number
        return lists.page(lists.array(rows), "", wanted)

    @operation("GET", "/streams/<key:stream>.json", tag=_TAG, answers={200: "Prediction"})
    def last(self, request: Request, stream: str) -> Response:
        """The last prediction of a stream or session, {} before there is one.

        It is named by its id, or by the name that people see (percent-encoded); of several with one name it is the
        one that began last.
        """
        return answer(self._named(request, stream)[-1].last_prediction)

    @operation("POST", "/streams/<key:stream>", tag=_TAG, body="StreamOptions", answers={200: "Stream", 409: "Error"})
    def configure(self, request: Request, stream: str) -> Response:
        """Change the model of somebody's stream, or how many frames a second are processed, from the next frame on.

        As with the app's own `configure`, nobody gets more frames a second than `--hz` allows.
        """
        one = self._only_one(request, stream)
        if isinstance(one, Session):
            raise Refused(409, f"{one.id} is a session, whose models the server's --session-models names")
        options = json_body.read(request)
        try:
            configure(one, options, self._most_hz)
        except UnknownModel as error:
            raise Refused(400, str(error)) from None
        self._note(AuditEvent.CONFIGURATION, request, one, lists.encode(options))
        return answer(self._overview.described(one))

    @operation("DELETE", "/streams/<key:stream>", tag=_TAG, answers={200: "Disconnected", 409: "Error"})
    def disconnect(self, request: Request, stream: str) -> Response:
        """Disconnect the client of a stream, which may come back; end a session.

        Whoever is not to come back is to be removed from the users, or to lose the token.
        """
        one = self._only_one(request, stream)
        self._overview.disconnect(one)
        self._note(AuditEvent.DISCONNECTION, request, one, one.id)
        return answer({"id": one.id, "disconnected": True})

    def _named(self, request: Request, key: str) -> list[Incoming]:
        """Those that the key names and that the user may see; at least one. Refused: 404."""
        return sight.named(self._overview, request.user, key)

    def _only_one(self, request: Request, key: str) -> Incoming:
        """The one that the key names. Refused: 404, and 409 where it names several."""
        found = self._named(request, key)
        if len(found) > 1:
            ids = ", ".join(one.id for one in found[-3:])
            raise Refused(409, f"{len(found)} streams are called {key!r}: name one of them by its id, such as {ids}")
        return found[0]

    def _note(self, event: AuditEvent, request: Request, one: Incoming, detail: str) -> None:
        self._audit.note(
            event,
            user=one.user,
            address=request.environ.get("REMOTE_ADDR", ""),
            door=f"{request.method} /streams/",
            by=request.user.name if request.user else "",
            detail=detail,
        )
