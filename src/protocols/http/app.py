"""The application of REST: networks by name, training, the Open Inference Protocol, and the documents about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from imageserver.inference.server.training.trainings import Trainings
from imageserver.inference.shared.manifest import RESERVED
from imageserver.protocols.http.models import RequestedModels
from imageserver.protocols.http.rest import Networks
from imageserver.protocols.http.training import TrainingJobs
from imageserver.protocols.http.v2 import OpenInference
from imageserver.streams.stream import Streams
from imageserver.web import openapi, sight
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.followers import Followers
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, encoded, json_answer


class ModelName(BaseConverter):
    """A path segment that can be a model's name; the names of other routes are none."""

    regex = rf"(?!(?:{'|'.join(map(re.escape, RESERVED))})(?![A-Za-z0-9_-]))[A-Za-z0-9_-]{{1,64}}"


class Key(BaseConverter):
    """The end of a path as the name of a stream or a user, whatever it is: slashes belong to it."""

    regex = ".+"
    part_isolating = False

    def to_python(self, value: str) -> str:
        if len(value) > sight.MOST_KEY:
            raise NotFound
        return value


class Document:
    """What programs are told of `operations`, which are filled in when all are known."""

    def __init__(self, models: RequestedModels) -> None:
        self._models = models
        self._models_told: dict[openapi.Models, list[str]] = {}
        self._document: dict[str, Any] = {}
        self._text = b""
        self.operations: list[openapi.Operation] = []

    @operation("GET", "/openapi.json", tag="About this service", answers={200: "AnyObject"})
    def document(self, request: Request) -> Response:
        """This interface as an OpenAPI 3.1 document."""
        self._refresh()
        return json_answer(self._text[:-1] + b',"servers":' + encoded(_servers(request)) + b"}")

    def described(self, request: Request) -> dict[str, Any]:
        """The document for who asks."""
        self._refresh()
        return self._document | {"servers": _servers(request)}

    def _refresh(self) -> None:
        """Make the document anew where other models can be asked: it takes milliseconds, too many for each request."""
        names = [manifest.name for manifest in self._models.listed()]
        told: dict[openapi.Models, list[str]] = {
            "all": names,
            "pictures": [name for name in names if self._models.answering(name)],
            "trainable": [name for name in names if self._models.trainings.trainable(name)],
        }
        if told != self._models_told or not self._text:
            self._document = openapi.document(self.operations, models=told, most=self._models.max_body)
            self._models_told, self._text = told, encoded(self._document)


def _servers(request: Request) -> list[dict[str, str]]:
    return [{"url": request.host_url.rstrip("/")}]


def application(
    streams: Streams,
    access: Access,
    trainings: Trainings,
    *further: object,
    not_ready: Callable[[], str | None],
    log: Callable[[str], None],
    most_followers: int,
    home: Callable[[Request], Response],
    pages: Callable[[Callable[[Request], dict[str, Any]]], Iterable[Route]],
    beside: Iterable[Route] = (),
) -> Application:
    """The application that takes every path that no other one does.

    Args:
        streams: Asked for what models find.
        access: Who may pass which door.
        trainings: What is being trained.
        further: Objects with further operations.
        not_ready: Returns None when the server is ready, else one sentence.
        log: Takes a line about what went wrong.
        most_followers: Clients that may follow trainings.
        home: Answers browsers that ask for `/`.
        pages: Gives further routes, those of pages, one of which shows the document that it is given.
        beside: Routes of other applications of which the document tells as well.
    """
    models = RequestedModels(streams, trainings)
    parts: list[object] = [
        Networks(models, home),
        TrainingJobs(models, Followers("training_followers", most_followers, "trainings", log)),
        OpenInference(models, not_ready),
        *further,
    ]
    document = Document(models)
    nothing = "there is nothing at this path; /list_nn names the networks, /docs shows what can be asked"
    routes = [route for part in (*parts, document) for route in openapi.routes(part)]
    routes += pages(document.described)
    document.operations = openapi.operations([*routes, *beside])
    return Application(routes, access, log=log, nothing=nothing, converters={"model": ModelName, "key": Key})
