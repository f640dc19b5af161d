"""What comes in, over HTTP: a list of streams and sessions, the last prediction of one, and for admins the rudder."""

from __future__ import annotations

from typing import Any

from imageserver.accounts import cameras
from imageserver.accounts.audit import Audit, AuditEvent
from imageserver.errors import NotAllowed, Refused, UnknownModel
from imageserver.streams.far import FarStream
from imageserver.streams.options import configure
from imageserver.streams.overview import Incoming, Overview, Own
from imageserver.streams.session import Session
from imageserver.streams.stream import Stream
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
        for one in self._overview.everything(after):
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
        one = self._named(request, stream)[-1]
        if isinstance(one, FarStream):
            one.await_first()
        return answer(one.last_prediction)

    @operation("POST", "/streams/<key:stream>", tag=_TAG, body="StreamOptions", answers={200: "Stream", 409: "Error"})
    def configure(self, request: Request, stream: str) -> Response:
        """Change the model of somebody's stream, how many frames a second are processed, or what the camera is called.

        It counts from the next frame on, and until the client connects anew. As with the app's own `configure`,
        nobody gets more frames a second than `--hz` allows. A name is that of the connection's sessions as well, and
        of a session it is all that can be changed; one that another camera has is refused.
        """
        one = self._only_one(request, stream)
        options = json_body.read(request)
        name = _name(options)
        others = {field: value for field, value in options.items() if field != "name"}
        if isinstance(one, Session) and (others or name is None):
            raise Refused(409, f"{one.id} is a session, whose models the server's --session-models names")
        if name is not None and not self._overview.may_be_called(one, name):
            raise Refused(409, f"another camera is called {name!r}")
        if isinstance(one, Stream) and (others or name is None):
            try:
                configure(one, others, self._most_hz)
            except UnknownModel as error:
                raise Refused(400, str(error)) from None
        if name is not None:
            self._overview.rename(one, name)
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

    def _only_one(self, request: Request, key: str) -> Own:
        """The one that the key names. Refused: 404, and 409 where it names several, or one of another front end."""
        found = self._named(request, key)
        if len(found) > 1:
            ids = ", ".join(one.id for one in found[-3:])
            raise Refused(409, f"{len(found)} streams are called {key!r}: name one of them by its id, such as {ids}")
        (one,) = found
        if isinstance(one, FarStream):
            raise Refused(409, f"{one.id} is at the front end {one.front_end}, which alone can change it: ask there")
        return one

    def _note(self, event: AuditEvent, request: Request, one: Own, detail: str) -> None:
        self._audit.note(
            event,
            user=one.user,
            address=request.environ.get("REMOTE_ADDR", ""),
            door=f"{request.method} /streams/",
            by=request.user.name if request.user else "",
            detail=detail,
        )


def _name(options: dict[str, Any]) -> str | None:
    """The name that a camera is to have; None where none is said. Refused: 400."""
    if "name" not in options:
        return None
    try:
        name = cameras.checked(options["name"]) if isinstance(options["name"], str) else ""
    except NotAllowed as error:
        raise Refused(400, str(error)) from None
    if not name:
        raise Refused(400, f"name is a text of 1 to {cameras.MAX_CAMERA} characters")
    return name
