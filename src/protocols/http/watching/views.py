"""The views under /streams/ that show something: a stream's newest frame, motion JPEG, and what happens as events."""

from __future__ import annotations

import unicodedata

from imageserver.errors import PictureError, Refused
from imageserver.protocols.http.watching import events, motion
from imageserver.protocols.http.watching.events import Following, StreamEvents
from imageserver.protocols.http.watching.motion import FrameNews, Motion
from imageserver.protocols.http.watching.taking import Taking
from imageserver.streams.drawings import Drawings
from imageserver.streams.far import FarStream
from imageserver.streams.frame import NewestFrame
from imageserver.streams.overview import Overview, Viewed
from imageserver.streams.session import Session, Sessions
from imageserver.streams.stream import Streams
from imageserver.web import query, sight
from imageserver.web.followers import Followers
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response

_TAG = "Streams"
LEAST_FPS, MOST_FPS = 0.1, 30.0


class WatchingViews:
    """The views. They watch all streams and sessions from their construction on.

    Args:
        overview: Of all that comes in.
        drawings: Where boxes are drawn into frames.
        followers: How many may follow.
        send_time: Seconds in which a client that follows must take something.
    """

    def __init__(self, overview: Overview, drawings: Drawings, followers: Followers, *, send_time: float) -> None:
        self._overview, self._drawings = overview, drawings
        self._followers, self._send_time = followers, send_time
        self._frames, self._events = FrameNews(), StreamEvents(overview)

    def watch(self, streams: Streams, sessions: Sessions) -> None:
        """Hear of all of them from now on."""
        streams.watch(self._frames)
        self._frames.watch_far(self._overview.far)
        self._events.watch(streams, sessions)

    @property
    def followed(self) -> frozenset[str] | None:
        """The ids and names of whose predictions somebody wants to be told; empty: none; None: all."""
        return self._events.wanted

    @operation(
        "GET",
        "/streams/<key:stream>.jpg",
        tag=_TAG,
        query=("boxes",),
        answers={200: "Frame", 304: None, 400: "Error", 409: "Error"},
    )
    def picture(self, request: Request, stream: str) -> Response:
        """The newest frame of a stream that was answered, as it came: JPEG, or what else its camera sends.

        With `boxes=1` it is a JPEG of at most 1280 pixels, upright, with boxes, label and score drawn into it.
        Whoever shows the `ETag` of the last one as `If-None-Match` gets 304 until there is a newer one. 503: there is
        none yet. Sessions have none (409).
        """
        one = self._stream(request, stream)
        if isinstance(one, FarStream):
            one.await_first()
        boxes = query.flag(request, "boxes")
        newest = _shown(one)
        etag = _etag(one, newest, boxes)
        headers = {"Cache-Control": "no-store", "ETag": etag, "X-Content-Type-Options": "nosniff"}
        if request.headers.get("If-None-Match") == etag:
            return Response(status=304, headers=headers)
        if not boxes:
            return Response(bytes(newest.frame.data), mimetype=newest.media_type, headers=headers)
        if request.method == "HEAD":
            return Response(iter(()), mimetype="image/jpeg", headers=headers)
        try:
            drawn = self._drawings.drawn(one, request.account.owner)
        except PictureError as error:
            raise Refused(503, str(error), Retry_After="5") from None
        if drawn is None:
            raise _none_yet(one)
        headers["ETag"] = _etag(one, drawn[0], boxes)
        return Response(drawn[1], mimetype="image/jpeg", headers=headers)

    @operation(
        "GET",
        "/streams/<key:stream>.mjpeg",
        tag=_TAG,
        query=("fps", "boxes"),
        answers={200: "Motion", 400: "Error", 409: "Error"},
    )
    def motion(self, request: Request, stream: str) -> Response:
        """The newest frames of a stream as motion JPEG, for `<img>` and players, until the stream ends.

        At most `fps` frames a second. A client that takes them slowly gets fewer, never older ones. With `boxes=1` as
        for the single picture.
        """
        one = self._stream(request, stream)
        fps = query.number(request, "fps", MOST_FPS, LEAST_FPS, MOST_FPS)
        drawings = self._drawings if query.flag(request, "boxes") else None
        taking = Taking(request, self._send_time)
        shown = Motion(one, self._frames, fps=fps, drawings=drawings, account=request.account, taking=taking)
        return self._following(request, Response(shown.parts(), content_type=motion.MEDIA_TYPE))

    @operation("GET", "/streams/events", tag=_TAG, query=("stream",), answers={200: "Events", 400: "Error"})
    def events(self, request: Request) -> Response:
        """What happens to streams and sessions, as server-sent events, for as long as the client listens.

        First an `opened` for each that is open now, as /streams/ lists it; then `opened`, `prediction`, `frame_error`
        and `closed` as they come, the latter three with the `stream`'s id, its `name` and `user`. Of each stream the
        newest prediction or error is told, ten times a second at most. `stream`, as often as wanted, names by id or
        name which are told of; without it all are. `Last-Event-ID` is ignored.
        """
        wanted = frozenset(unicodedata.normalize("NFC", key) for key in query.texts(request, "stream", sight.MOST_KEY))
        taking = Taking(request, self._send_time)
        following = Following(self._events, self._overview, request.user, wanted, taking)
        return self._following(request, Response(following.texts(), mimetype=events.MEDIA_TYPE))

    def _following(self, request: Request, response: Response) -> Response:
        """An answer that does not end by itself. Refused: 503, too many have one; HEAD has none and costs nothing."""
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold it back
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response if request.method == "HEAD" else self._followers.admit(request, response)

    def _stream(self, request: Request, key: str) -> Viewed:
        """The stream of that id, or of that name the one that began last. Refused: 404, and 409 for a session."""
        one = sight.named(self._overview, request.user, key)[-1]
        if isinstance(one, Session) or (isinstance(one, FarStream) and one.row["kind"] == "session"):
            raise Refused(409, f"{one.id} is a session, of which no pictures are kept; .json has what its models say")
        return one


def _shown(stream: Viewed) -> NewestFrame:
    """The newest frame that can be shown. Refused: 503."""
    newest = stream.newest
    if newest is None:
        raise _none_yet(stream)
    if not newest.media_type:
        raise Refused(503, f"the newest frame of {stream.name!r} cannot be shown: {newest.error}", Retry_After="5")
    return newest


def _none_yet(stream: Viewed) -> Refused:
    if isinstance(stream, FarStream):
        sentence = f"no frame of {stream.name!r} has come from the front end {stream.front_end} yet"
    elif stream.answered_count:
        sentence = f"the newest frame of {stream.name!r} is not kept: the server has no room to spare for it now"
    else:
        sentence = f"no frame of {stream.name!r} has been answered yet"
    return Refused(503, f"{sentence}; try again in a moment", Retry_After="5")


def _etag(stream: Viewed, newest: NewestFrame, boxes: bool) -> str:
    frame = newest.frame
    return f'"{stream.number}-{frame.seq}-{frame.timestamp}{"-boxes" if boxes else ""}"'
