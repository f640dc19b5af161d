"""Neural networks by name over HTTP: list, about, classify; the application that holds training and v2 as well.

The paths, codes and words are those of docs/rest.md; what each operation takes and answers is declared beside it and
becomes /openapi.json. Bodies are received into one buffer and cross the process wall unparsed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flask
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.accounts.login import Logins
from imageserver.errors import ImageServerError, describe
from imageserver.inference.server.training import Trainings
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import RESERVED, Manifest
from imageserver.protocols.http import openapi, page
from imageserver.protocols.http.openapi import Operation, operation
from imageserver.protocols.http.training import RestTraining
from imageserver.protocols.http.v2 import RestV2
from imageserver.streams.stream import Streams
from imageserver.web import requests
from imageserver.web.requests import Interrupted, Refused, answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from imageserver.inference.server.model import SharedModel

PROTOCOL = "rest"
PNEUMONIA = "pneumonia"
"""The label whose probability is the score of an X-ray model, whichever label is the likelier."""

DIGITS = tuple("0123456789")


class ModelName(BaseConverter):
    """A path segment that can be a model's name; the names of other routes are none."""

    regex = r"[A-Za-z0-9_-]{1,64}"

    def to_python(self, value: str) -> str:
        if value in RESERVED:
            raise NotFound
        return value


class Rest:
    """A WSGI application.

    `not_ready` returns None when the server is ready, else one sentence. `home`: where browsers that ask for `/` are sent;
    other clients go to /list_nn.
    """

    def __init__(
        self,
        streams: Streams,
        logins: Logins,
        trainings: Trainings,
        *,
        not_ready: Callable[[], str | None],
        log: Callable[[str], None],
        home: str = "/docs",
    ) -> None:
        self.streams, self.trainings, self.not_ready = streams, trainings, not_ready
        self.most = min(requests.MAX_BODY, streams.max_frame_bytes)
        self._logins, self._log, self._home = logins, log, home
        app = Flask(__name__, static_folder=None)
        # What no handler expects goes up to `__call__`; an interrupted body on to the transport.
        app.config["PROPAGATE_EXCEPTIONS"] = True
        app.url_map.converters["model"] = ModelName
        app.url_map.strict_slashes = app.url_map.merge_slashes = False
        app.register_error_handler(Refused, requests.refuse)
        app.register_error_handler(HTTPException, _http_error)
        app.register_error_handler(ImageServerError, self._project_error)
        self._app = app
        self.operations: list[Operation] = []
        for part in (self, RestTraining(self), RestV2(self)):
            self._register(part)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._app(environ, start_response)
        except Interrupted as interrupted:
            raise interrupted.cause from None
        except Exception as error:  # noqa: BLE001 - whatever we forgot: this request fails in the way documented, the server goes on
            self._log_failure(environ["REQUEST_METHOD"], environ["PATH_INFO"], error)
            return requests.refuse(Refused(500, requests.FAILED))(environ, start_response)

    # ---- networks by name -------------------------------------------------------------------------------------

    @operation("GET", "/", tag="Networks", answers={302: None})
    def root(self) -> Response:
        """Go to the list of networks, or to a page when HTML is asked for."""
        html = request.accept_mimetypes.quality("text/html") > 0 and "text/html" in request.headers.get("Accept", "")
        if not html:
            self.user(always=True)
        where = self._home if html else "/list_nn"
        return answer({"text": f"see {where}"}, 302, {"Location": where})

    @operation("GET", "/list_nn", tag="Networks", answers={200: "TextList"}, credentials="always")
    def list_nn(self) -> Response:
        """The networks there are, a line for each, with its path."""
        models = self.streams.engine.models
        return answer({"text": [f"{models[name].manifest.title} url:/{name}" for name in sorted(models)]})

    @operation(
        "GET",
        "/<model:name>",
        "/<model:name>/about",
        tag="Networks",
        answers={200: "Text", 404: "Error"},
        credentials="always",
    )
    def about(self, name: str) -> Response:
        """What the network is, in words."""
        manifest = self.manifest(name)
        return answer({"text": f"{manifest.title}: {manifest.description}" if manifest.description else manifest.title})

    @operation(
        "POST",
        "/<model:name>/classify",
        tag="Networks",
        body="Picture",
        answers={200: "Classification", **dict.fromkeys((400, 404, 405, 406, 413, 415, 500, 503), "Error")},
        credentials="always",
        models="pictures",
    )
    def classify(self, name: str) -> Response:
        """What the network says of a picture: JPEG, PNG, BMP, TIFF or WebP.

        The picture comes in JSON as base64 (with or without line breaks), raw (`Content-Type: image/…`), or as the first
        file of a multipart form. Digits: dark on light, at least 28x28, the digit filling most of the picture.
        """
        manifest = self.manifest(name)
        if manifest.stateful:
            raise Refused(405, f"{name} keeps state from frame to frame, so it runs in sessions only", Allow="GET")
        self.refuse_while_training(name)
        data = self.body()
        content = requests.picture_form()
        user: User = g.user
        result = self.streams.ask(name, data, protocol=PROTOCOL, content=content, rotate=user.rotate)
        self.refuse_failed(name, result, picture_status=415)
        return answer(classification(manifest, result))

    # ---- the documents ----------------------------------------------------------------------------------------

    @operation("GET", "/openapi.json", tag="About this service", answers={200: "AnyObject"}, credentials="checked")
    def document(self) -> Response:
        """This interface as an OpenAPI 3.1 document."""
        return answer(self._document())

    @operation("GET", "/docs", tag="About this service", answers={200: "Html"}, credentials="checked")
    def docs(self) -> Response:
        """This interface as a page."""
        headers = {"Content-Security-Policy": page.POLICY}
        return Response(page.render(self._document()), mimetype="text/html", headers=headers)

    def _document(self) -> dict[str, Any]:
        every = dict(sorted(self.streams.engine.models.items()))
        models: dict[openapi.Models, list[str]] = {
            "all": list(every),
            "pictures": [name for name, model in every.items() if _takes_pictures(model)],
            "trainable": [name for name in every if self.trainings.trainable(name)],
        }
        return openapi.document(self.operations, models=models, most=self.most, server=request.host_url.rstrip("/"))

    # ---- what the views share ---------------------------------------------------------------------------------

    def manifest(self, name: str) -> Manifest:
        """The manifest of a model that exists. UnknownModel."""
        return self.streams.engine.check(name)

    def refuse_while_training(self, name: str) -> None:
        """Refuse with 406 while `name` is being trained."""
        if running := self.trainings.running(name):
            raise Refused(406, running)

    def body(self) -> bytearray:
        """The request's body; counts what is too large."""
        try:
            return requests.body(self.most)
        except Refused as refused:
            if refused.status == 413:
                metrics.LIMITS_HIT.inc("max-frame-bytes")
                metrics.FRAMES_REFUSED.inc(PROTOCOL, "too large")
            raise

    def refuse_failed(self, name: str, result: wire.Result, picture_status: int) -> None:
        """Refuse when `result` is an error."""
        if "error" not in result:
            return
        reason = result["reason"]
        if reason == "model":
            model = self.streams.engine.models.get(name)
            ready = model is not None and model.state == "ready"
            raise Refused(500, result["error"]) if ready else Refused(503, result["error"], Retry_After="5")
        raise Refused(400 if reason == "body" else picture_status, result["error"])

    def user(self, *, always: bool) -> User | None:
        """Who is asking. `always`: credentials are demanded even where any are accepted. Refused: 401."""
        checked = self._logins.checked()
        if not (checked or always):
            return None
        name, password = requests.credentials()
        user = self._logins.check(name, password, request.environ.get("REMOTE_ADDR", ""), always=checked)
        if user is None:
            requests.demand("the user name or the password is wrong")
        return user

    # ---- within -----------------------------------------------------------------------------------------------

    def _register(self, part: object) -> None:
        for attribute in vars(type(part)).values():
            found: Operation | None = getattr(attribute, "operation", None)
            if found is None:
                continue
            self.operations.append(found)
            view = functools.partial(self._serve, found, getattr(part, attribute.__name__))
            for path in found.paths:
                endpoint = f"{found.method} {path}"
                self._app.add_url_rule(path, endpoint, view, methods=[found.method], provide_automatic_options=False)
                if found.role:
                    # HEAD comes with GET, and whoever asks for headers must start nothing (RFC 9110, section 9.2.1).
                    for rule in self._app.url_map.iter_rules(endpoint):
                        rule.methods = {found.method}

    def _serve(self, found: Operation, view: Callable[..., Response], **arguments: str) -> Response:
        if found.credentials != "none":
            g.user = self.user(always=found.credentials == "always")
            if found.role and request.headers.get("Sec-Fetch-Site") == "cross-site":
                # A browser sends stored credentials along with whatever another site's page links to.
                raise Refused(403, "this cannot be asked from another site's page")
            if found.role and found.role not in (g.user.roles if g.user else ()):
                raise Refused(403, f"this takes a user with the role {found.role!r}")
        return view(**arguments)

    def _project_error(self, error: ImageServerError) -> Response:
        refused = requests.refusal(error)
        if refused.status == 500:
            self._log_failure(request.method, request.path, error)
        return requests.refuse(refused)

    def _log_failure(self, method: str, path: str, error: Exception) -> None:
        self._log(f"{method} {path[:200]!r} failed: {describe(error)}")


def _takes_pictures(model: SharedModel) -> bool:
    """Whether it would answer now: it keeps no state, has its weights, and has not failed."""
    weights = model.manifest.runtime.weights
    return (
        not model.manifest.stateful
        and model.state not in ("failed", "disabled")
        and (weights is None or weights.exists())
    )


def classification(manifest: Manifest, result: wire.Result) -> dict[str, Any]:
    """What `classify` answers: the result, for digits `number` as well, for X-rays the probability of pneumonia as `score`."""
    found: dict[str, Any] = dict(result)
    if manifest.output.labels == DIGITS:
        found = {"number": found.get("label", ""), **found}
    for entry in found.get("labels", ()):
        if isinstance(entry, dict) and str(entry.get("label", "")).lower() == PNEUMONIA:
            found["score"] = entry["score"]
    return found


def _http_error(error: HTTPException) -> Response:
    """What Flask itself refuses, in our words."""
    headers = {}
    if isinstance(error, NotFound):
        sentence = "there is nothing at this path; /list_nn names the networks, /docs shows what can be asked"
    elif isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        headers["Allow"] = allowed
        sentence = f"{flask.request.method[:32]} is not possible here; {allowed} is"
    else:
        sentence = error.description or "the request cannot be answered"
    return answer({"error": sentence}, error.code or 500, headers)
