"""Snap: capture devices put pictures, people get them with what a model found (docs/protocols.md#snap).

PUT /snippets/<id>/         a picture, raw or as the first file of a form; `?model=` names the model, `?room=` who hears of it
GET /snippets/<id>/         the newest picture's record; `?history=1` all that are kept, newest first
GET /snippets/<id>/image    the picture
GET /snippets/              the newest record of every id
DELETE /snippets/<id>/      forget it (role admin)

The relay that tells devices when to take a picture is snap_relay.py.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.accounts.login import Logins
from imageserver.errors import ImageServerError, ModelError, PictureError, Stopping, describe
from imageserver.inference.shared import image_header, request_bodies, wire
from imageserver.protocols.snap.relay import Relay
from imageserver.protocols.snap.store import SnapStore, Snippet
from imageserver.streams.stream import Streams
from imageserver.transport import hub
from imageserver.web import requests
from imageserver.web.requests import Interrupted, Refused, answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PROTOCOL = "snap"
MOST_ID = 2**63 - 1


class Snap:
    """A WSGI application for `/snippets/`. `model` is the one that runs when none is asked for."""

    def __init__(
        self,
        streams: Streams,
        logins: Logins,
        store: SnapStore,
        relay: Relay,
        model: str,
        *,
        log: Callable[[str], None],
    ) -> None:
        self._streams, self._logins, self._store, self._relay, self._model = streams, logins, store, relay, model
        self._log = log
        app = Flask(__name__, static_folder=None)
        app.config["PROPAGATE_EXCEPTIONS"] = True
        app.url_map.merge_slashes = False
        app.register_error_handler(Refused, requests.refuse)
        app.register_error_handler(HTTPException, _http_error)
        app.register_error_handler(ImageServerError, lambda error: requests.refuse(requests.refusal(error)))
        app.add_url_rule("/snippets/", view_func=self._list, methods=["GET"])
        app.add_url_rule("/snippets/<int:identity>/", view_func=self._get, methods=["GET"])
        app.add_url_rule("/snippets/<int:identity>/", view_func=self._put, methods=["PUT", "POST"])
        app.add_url_rule("/snippets/<int:identity>/", view_func=self._delete, methods=["DELETE"])
        app.add_url_rule("/snippets/<int:identity>/image", view_func=self._image, methods=["GET"])
        app.before_request(self._admit)
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._app(environ, start_response)
        except Interrupted as interrupted:
            raise interrupted.cause from None
        except Exception as error:  # noqa: BLE001 - whatever we forgot: this request fails, the server goes on
            self._log(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'][:200]!r} failed: {describe(error)}")
            return requests.refuse(Refused(500, requests.FAILED))(environ, start_response)

    # ---- requests ---------------------------------------------------------------------------------------------

    def _put(self, identity: int) -> Response:
        _check_id(identity)
        model = request.args.get("model", self._model)
        self._streams.engine.check(model)
        body = requests.body(min(requests.MAX_BODY, self._streams.max_frame_bytes))
        picture = self._picture(body)
        kind = image_header.read(picture).kind
        received = datetime.now(UTC).isoformat(timespec="milliseconds")
        prediction = self._predict(model, picture)
        try:
            hub.in_thread(self._store.put, identity, kind, picture, received, prediction)
        except (OSError, sqlite3.Error) as error:
            self._log(f"picture {identity} cannot be kept: {type(error).__name__}: {error}")
            raise Refused(507, "the server cannot keep pictures now; its log says why") from error
        self._relay.announce(
            request.args.get("room", ""),
            json.dumps({"snippet": identity, "prediction": prediction}, ensure_ascii=False),
        )
        return answer({"id": identity, "prediction": prediction, "received": received})

    def _get(self, identity: int) -> Response:
        found = self._found(identity)
        if request.args.get("history") in ("1", "yes", "true"):
            return answer({"id": identity, "history": [_record(snippet) for snippet in found]})
        return answer(_record(found[0]))

    def _image(self, identity: int) -> Response:
        for _once_more in range(3):  # a newer picture may take this one's place between the two looks
            snippet = self._found(identity)[0]
            try:
                data = hub.in_thread(snippet.path.read_bytes)
            except FileNotFoundError:
                continue
            headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
            return Response(data, mimetype=f"image/{snippet.kind}", headers=headers)
        raise _nothing(identity)

    def _list(self) -> Response:
        return answer({"snippets": [_record(snippet) for snippet in hub.in_thread(self._store.newest)]})

    def _delete(self, identity: int) -> Response:
        _check_id(identity)
        user = self._user()
        if user is not None and "admin" not in user.roles:
            raise Refused(403, "deleting takes a user with the role 'admin'")
        if not hub.in_thread(self._store.delete, identity):
            raise _nothing(identity)
        return answer({"id": identity, "deleted": True})

    # ---- within -----------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        self._user()

    def _user(self) -> User | None:
        """Who is asking, None when nobody needs to say. Refused: 401."""
        if not self._logins.required:
            return None
        name, password = requests.credentials()
        user = self._logins.check(name, password, request.environ.get("REMOTE_ADDR", ""))
        if user is None:
            requests.demand("the user name or the password is wrong")
        return user

    def _picture(self, body: bytearray) -> bytes | bytearray | memoryview:
        """The picture in the body: raw whatever its content type says, unless that is a form."""
        if request.mimetype != "multipart/form-data":
            return body
        try:
            # A large form takes milliseconds to take apart, so not on the loop.
            return hub.in_thread(request_bodies.picture, requests.picture_form(), body)
        except request_bodies.BodyError as error:
            raise Refused(400, str(error)) from None

    def _predict(self, model: str, picture: bytes | bytearray | memoryview) -> dict[str, Any]:
        """What the model found, as in CamStream; a model that cannot answer does not cost the picture its place."""
        begun, now = time.monotonic(), int(time.time() * 1000)
        try:
            result = self._streams.ask(model, picture, protocol=PROTOCOL, content=wire.CONTENT_IMAGE)
        except (ModelError, Stopping) as error:
            return {"model": model, "error": str(error), "timestamp": now}
        if result.get("reason") == "picture":
            raise PictureError(result["error"])
        result.pop("reason", None)
        return {"model": model, **result, "timestamp": now, "age_ms": round((time.monotonic() - begun) * 1000, 1)}

    def _found(self, identity: int) -> list[Snippet]:
        _check_id(identity)
        found = hub.in_thread(self._store.get, identity)
        if not found:
            raise _nothing(identity)
        return found


def _http_error(error: HTTPException) -> Response:
    """404 and 405 of the router."""
    allowed = error.get_response().headers.get("Allow")
    sentence = (
        f"{request.method} is not for {request.path[:200]}"
        if error.code == 405
        else f"there is nothing at {request.path[:200]}"
    )
    return answer({"error": sentence}, error.code or 500, {"Allow": allowed} if allowed else None)


def _check_id(identity: int) -> None:
    if identity > MOST_ID:
        metrics.LIMITS_HIT.inc("snippet-id")
        raise Refused(404, f"numbers go to {MOST_ID}")


def _nothing(identity: int) -> Refused:
    return Refused(404, f"there is no picture {identity}; PUT one to this address")


def _record(snippet: Snippet) -> dict[str, Any]:
    record = {"id": snippet.id, "prediction": snippet.prediction, "received": snippet.received}
    return {**record, "type": f"image/{snippet.kind}", "size": snippet.size, "image": f"/snippets/{snippet.id}/image"}
