"""Snap: capture devices put pictures, people get them with what a model found (docs/protocols.md#snap).

PUT /snippets/<id>/         a picture, raw, in JSON or in a form; `?model=` names the model, `?room=` who is told
GET /snippets/<id>/         the newest picture's record; `?history=1` all that are kept, newest first
GET /snippets/<id>/image    the picture
GET /snippets/              the newest record of every id
DELETE /snippets/<id>/      forget it (role admin)

The relay that tells devices when to take a picture is relay.py.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from werkzeug.routing import BaseConverter

from imageserver import metrics
from imageserver.accounts.login import Logins
from imageserver.errors import ModelError, PictureError, Refused, Stopping
from imageserver.inference.shared import image_header, request_bodies, wire
from imageserver.inference.shared.request_bodies import Bytes
from imageserver.protocols.snap.relay import Relay
from imageserver.protocols.snap.store import SnapStore, Snippet
from imageserver.streams.stream import Streams
from imageserver.transport import hub
from imageserver.web import requests
from imageserver.web.application import Application, Login, Route
from imageserver.web.requests import Request, Response, answer

PROTOCOL = "snap"
MOST_ID = 2**63 - 1


class Snap:
    """The views of `/snippets/`. `model` is the one that runs when none is asked for."""

    def __init__(
        self, streams: Streams, store: SnapStore, relay: Relay, model: str, *, log: Callable[[str], None]
    ) -> None:
        self._streams, self._store, self._relay, self._model, self._log = streams, store, relay, model, log

    def application(self, logins: Logins) -> Application:
        """The application of these views: with --auth all of them ask for a user, and deleting takes an admin."""
        one = "/snippets/<number:identity>/"
        routes = [
            Route("GET", "/snippets/", self.newest, Login.AUTH),
            Route("GET", one, self.get, Login.AUTH),
            Route("PUT", one, self.put, Login.AUTH),
            Route("POST", one, self.put, Login.AUTH),
            Route("DELETE", one, self.delete, Login.AUTH, frozenset({"admin"})),
            Route("GET", f"{one}image", self.image, Login.AUTH),
        ]
        nothing = "there is nothing at this path; /snippets/1/ is the picture of number 1"
        return Application(routes, logins, log=self._log, nothing=nothing, converters={"number": Number})

    def put(self, request: Request, identity: int) -> Response:
        """Run the model on a picture, keep both, and tell the room."""
        model = request.args.get("model", self._model)
        self._streams.engine.check(model)
        body = requests.body(request, min(requests.MAX_BODY, self._streams.max_frame_bytes), PROTOCOL)
        picture = self._picture(request, body)
        kind = image_header.read(picture).kind
        self._store.check(len(picture))
        received = datetime.now(UTC).isoformat(timespec="milliseconds")
        prediction = self._predict(request, model, picture)
        try:
            hub.in_thread(self._store.put, identity, kind, picture, received, prediction)
        except (OSError, sqlite3.Error) as error:
            self._log(f"picture {identity} cannot be kept: {type(error).__name__}: {error}")
            raise Refused(507, "the server cannot keep pictures now; its log says why") from error
        news = json.dumps({"snippet": identity, "prediction": prediction}, ensure_ascii=False)
        self._relay.announce(request.args.get("room", ""), news)
        return answer({"id": identity, "prediction": prediction, "received": received})

    def get(self, request: Request, identity: int) -> Response:
        """The newest picture's record, or all that are kept."""
        found = self._found(identity)
        if request.args.get("history") in ("1", "yes", "true"):
            return answer({"id": identity, "history": [_record(snippet) for snippet in found]})
        return answer(_record(found[0]))

    def image(self, _request: Request, identity: int) -> Response:
        """The newest picture itself."""
        for _once_more in range(3):  # a newer picture may take this one's place between the two looks
            snippet = self._found(identity)[0]
            try:
                data = hub.in_thread(snippet.path.read_bytes)
            except FileNotFoundError:
                continue
            headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
            return Response(data, mimetype=f"image/{snippet.kind}", headers=headers)
        raise _nothing(identity)

    def newest(self, _request: Request) -> Response:
        """The newest record of every number."""
        return answer({"snippets": [_record(snippet) for snippet in hub.in_thread(self._store.newest)]})

    def delete(self, _request: Request, identity: int) -> Response:
        """Forget a number."""
        if not hub.in_thread(self._store.delete, identity):
            raise _nothing(identity)
        return answer({"id": identity, "deleted": True})

    def _picture(self, request: Request, body: bytearray) -> Bytes:
        """The picture file in the body, which may be that file."""
        kind = requests.content_of(request, body)
        # What holds it in base64 or in a form takes milliseconds to take apart, so not on the loop.
        return body if kind == wire.CONTENT_IMAGE else hub.in_thread(request_bodies.picture, kind, body)

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

    def _found(self, identity: int) -> list[Snippet]:
        found = hub.in_thread(self._store.get, identity)
        if not found:
            raise _nothing(identity)
        return found


class Number(BaseConverter):
    """The number of a picture in a path: what the database can hold."""

    regex = "[0-9]+"

    def to_python(self, value: str) -> int:
        if len(value) > len(str(MOST_ID)) or int(value) > MOST_ID:
            metrics.LIMITS_HIT.inc("snippet-id")
            raise Refused(404, f"numbers go to {MOST_ID}")
        return int(value)


def _nothing(identity: int) -> Refused:
    return Refused(404, f"there is no picture {identity}; PUT one to this address")


def _record(snippet: Snippet) -> dict[str, Any]:
    record = {"id": snippet.id, "prediction": snippet.prediction, "received": snippet.received}
    return {**record, "type": f"image/{snippet.kind}", "size": snippet.size, "image": f"/snippets/{snippet.id}/image"}
