"""Snap: capture devices put pictures, people get them with what a model found (docs/protocols.md#snap).

PUT /snippets/<id>/         a picture, raw, in JSON or in a form; `?model=` names the model, `?room=` who is told,
                            `?name=` the camera
GET /snippets/<id>/         the newest picture's record; `?history=1` those that are kept, newest first, in pages
GET /snippets/<id>/image    the picture
GET /snippets/              the newest record of every id, in pages
DELETE /snippets/<id>/      forget it

Who may ask for which of them is said in accounts/doors.py, and for whose pictures in rights.py. The relay that tells
devices when to take a picture is relay.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

from werkzeug.routing import BaseConverter

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.errors import LimitExceeded, ModelError, PictureError, Refused, Stopping
from imageserver.inference.shared import image_header, request_bodies, wire
from imageserver.inference.shared.request_bodies import Bytes
from imageserver.protocols.snap import pages, rights
from imageserver.protocols.snap.keeper import Keeper
from imageserver.protocols.snap.pictures import LAST, Row
from imageserver.protocols.snap.relay import Relay
from imageserver.streams.stream import Streams
from imageserver.transport import descriptors
from imageserver.transport.budget import FULL
from imageserver.transport.fairness import Turn
from imageserver.web import lists, openapi, query, requests
from imageserver.web.access import Access
from imageserver.web.application import Application
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

PROTOCOL = "snap"
_TAG = "Pictures on demand"
_ONE = "/snippets/<number:identity>/"
_PUT: dict[str, Any] = {
    "tag": _TAG,
    "body": "Picture",
    "query": ("model", "room", "name"),
    "answers": {200: "SnippetPut", 507: "Error"},
}


class Snap:
    """The views of `/snippets/`.

    Args:
        streams: asked for what models find.
        keeper: keeps the pictures.
        relay: told of new ones.
        model: the one that runs when none is asked for.
        list_rows: rows in one answer of a list.
        spare_descriptors: files and sockets that are kept for the server itself.
        log: takes a line about what the operator can mend.
    """

    def __init__(
        self,
        streams: Streams,
        keeper: Keeper,
        relay: Relay,
        model: str,
        *,
        list_rows: int,
        spare_descriptors: int,
        log: Callable[[str], None],
    ) -> None:
        self._streams, self._keeper, self._relay, self._model, self._log = streams, keeper, relay, model, log
        self._list_rows, self._spare = list_rows, spare_descriptors

    def application(self, access: Access) -> Application:
        """The application of these views."""
        nothing = "there is nothing at this path; /snippets/1/ is the picture of number 1"
        return Application(openapi.routes(self), access, log=self._log, nothing=nothing, converters={"number": Number})

    @operation("PUT", _ONE, **_PUT)
    def put(self, request: Request, identity: int) -> Response:
        """Run the model on a picture, keep both, and tell the room.

        The picture comes as `classify` takes it. A model that cannot answer does not keep it out: the prediction is
        then its error.
        """
        model, room = query.text(request, "model", self._model), query.text(request, "room", "")
        rights.check_room(request.user, room)
        sender = rights.sender(request.user, request.camera, identity)
        self._streams.engine.check(model)
        if request.user is not None:  # here as well, before it costs anything
            sender.check(self._keeper.find(identity))
        body = requests.body(request, PROTOCOL)
        picture = self._picture(request, body)
        kind = image_header.read(picture).kind
        self._keeper.check(len(picture))
        received = datetime.now(UTC).isoformat(timespec="milliseconds")
        prediction = self._predict(request, model, picture)
        self._keeper.put(identity, kind, picture, received, prediction, sender)
        said = {"camera": sender.camera} if sender.camera else {}
        news = json.dumps({"snippet": identity, "prediction": prediction, **said}, ensure_ascii=False)
        self._relay.announce(room, news, sender.owner, sender.camera)
        return answer({"id": identity, "prediction": prediction, "received": received, **said})

    @operation("POST", _ONE, **_PUT)
    def post(self, request: Request, identity: int) -> Response:
        """The same as PUT, for whoever can only POST."""
        return self.put(request, identity)

    @operation(
        "GET",
        _ONE,
        tag=_TAG,
        query=("history", "before", "limit"),
        answers={200: "Snippet", 400: "Error", 507: "Error"},
    )
    def get(self, request: Request, identity: int) -> Response:
        """The newest picture's record, or a page of those that are kept."""
        user, history = request.user, query.flag(request, "history")
        before = query.whole(request, "before", LAST, 0, LAST)
        wanted = lists.asked(request, self._list_rows)
        if not history:
            row = self._found(user, identity)
            return _json(pages.record(row, rights.sight(user).names).encode())
        if user is not None:
            self._found(user, identity)
        owner = request.account.owner
        page = self._keeper.history(identity, before, wanted or self._list_rows, rights.sight(user), owner)
        if page is None:
            raise rights.nothing(identity)
        return lists.page(page.body, page.next, wanted)

    @operation(
        "GET",
        "/snippets/",
        tag=_TAG,
        query=("after_number", "limit"),
        answers={200: "SnippetList", 400: "Error", 507: "Error"},
    )
    def newest(self, request: Request) -> Response:
        """The newest picture's record of every number, by number, in pages."""
        after = query.whole(request, "after", -1, -1, LAST)
        wanted = lists.asked(request, self._list_rows)
        sight, owner = rights.sight(request.user), request.account.owner
        page = self._keeper.newest(after, wanted or self._list_rows, sight, owner)
        return lists.page(page.body, page.next, wanted)

    @operation("GET", f"{_ONE}image", tag=_TAG, answers={200: "PictureFile", 507: "Error"})
    def image(self, request: Request, identity: int) -> Response:
        """The newest picture itself."""
        for _once_more in range(3):  # a newer picture may take this one's place between the two looks
            row = self._found(request.user, identity)
            try:
                file, first = self._keeper.open(row)
            except FileNotFoundError:
                continue
            if len(first) == row.size:
                file.close()  # who reads slowly holds no file as well as a connection
            elif descriptors.nearly_taken(file.fileno(), self._spare):
                file.close()
                raise LimitExceeded(descriptors.FULL, "spare_descriptors")
            headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
            response = Response(self._pieces(file, first), mimetype=f"image/{row.kind}", headers=headers)
            response.content_length = row.size
            response.call_on_close(file.close)
            return response
        raise rights.nothing(identity)

    @operation("DELETE", _ONE, tag=_TAG, answers={200: "SnippetDeleted", 507: "Error"})
    def delete(self, request: Request, identity: int) -> Response:
        """Forget a number: its picture, and those that were kept of it."""
        newest = self._keeper.find(identity)
        if newest is None:
            rights.check_unreadable(request.user, identity)
        else:
            rights.check_seen(request.user, identity, newest)
        if not self._keeper.delete(identity):
            raise rights.nothing(identity)
        return answer({"id": identity, "deleted": True})

    def _pieces(self, file: BinaryIO, piece: bytes) -> Iterator[bytes]:
        while piece:
            yield piece
            piece = b"" if file.closed else self._keeper.read(file)

    def _picture(self, request: Request, body: bytearray) -> Bytes:
        """The picture file in the body, which may be that file."""
        kind = requests.content_of(request, body)
        if kind == wire.CONTENT_IMAGE:
            return body
        if not request.account.charge("bodies").set(2 * len(body)):  # what is taken out of it is a copy
            raise LimitExceeded(FULL)
        # Not in a thread: it would hold up the loop as much, since both take turns with Python's lock.
        return request_bodies.picture(kind, body, Turn(time.monotonic).share)

    def _predict(self, request: Request, model: str, picture: Bytes) -> dict[str, Any]:
        """What the model found, as in CamStream; a model that cannot answer does not keep the picture out."""
        begun, now = time.monotonic(), int(time.time() * 1000)
        try:
            result = self._streams.ask(model, picture, protocol=PROTOCOL, account=request.account)
        except (ModelError, Stopping) as error:
            return {"model": model, "error": str(error), "timestamp": now}
        if result.get("reason") == "picture":
            raise PictureError(result["error"])
        result.pop("reason", None)
        return {"model": model, **result, "timestamp": now, "age_ms": round((time.monotonic() - begun) * 1000, 1)}

    def _found(self, user: User | None, identity: int) -> Row:
        """The newest picture of a number. Refused: there is none, or none for this user."""
        found = self._keeper.find(identity)
        if found is None:
            raise rights.nothing(identity)
        rights.check_seen(user, identity, found)
        return found


class Number(BaseConverter):
    """The number of a picture in a path: what the database can hold."""

    regex = "[0-9]+"

    def to_python(self, value: str) -> int:
        if len(value) > len(str(LAST)) or int(value) > LAST:
            metrics.LIMITS_HIT.inc("snippet-id")
            raise Refused(404, f"numbers go to {LAST}")
        return int(value)


def _json(text: bytes) -> Response:
    return Response(text, mimetype="application/json", headers={"Cache-Control": "no-store"})
