"""Neural networks by name over HTTP: list, about, classify.

The paths, codes and words are those of docs/rest.md; what each operation takes and answers is declared
beside it and becomes /openapi.json. Bodies are received into one buffer and cross the process wall
unparsed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imageserver.errors import Refused
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.protocols.http.models import PROTOCOL, RequestedModels
from imageserver.web import requests
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

PNEUMONIA = "pneumonia"
"""The label whose probability is the score of an X-ray model, whichever label is the likelier."""

DIGITS = tuple("0123456789")
_TAG = "Networks"


class Networks:
    """The views under `/` and `/<name>`.

    `home`: answers browsers that ask for `/`; programs go to /list_nn.
    """

    def __init__(self, models: RequestedModels, home: Callable[[Request], Response]) -> None:
        self._models, self._home = models, home

    @operation("GET", "/", tag=_TAG, answers={302: None})
    def root(self, request: Request) -> Response:
        """Go to the list of networks; when HTML is asked for, the live page."""
        if request.wants_page:
            return self._home(request)
        return answer({"text": "see /list_nn"}, 302, {"Location": "/list_nn"})

    @operation("GET", "/list_nn", tag=_TAG, answers={200: "TextList"})
    def list_nn(self, _request: Request) -> Response:
        """The networks there are, a line for each, with its path."""
        return answer({"text": [f"{manifest.title} url:/{manifest.name}" for manifest in self._models.listed()]})

    @operation("GET", "/<model:name>", "/<model:name>/about", tag=_TAG, answers={200: "Text", 404: "Error"})
    def about(self, _request: Request, name: str) -> Response:
        """What the network is, in words."""
        manifest = self._models.engine.check(name)
        return answer({"text": f"{manifest.title}: {manifest.description}" if manifest.description else manifest.title})

    @operation("POST", "/<model:name>/reload", tag=_TAG, answers={200: "Text", 404: "Error"})
    def reload(self, _request: Request, name: str) -> Response:
        """Load the network anew, also where it had failed or was disabled. What serves goes on until then."""
        begun = self._models.engine.catalogue.reload(name)
        return answer({"text": f"{name} is being loaded {'anew' if begun else 'already'}"})

    @operation(
        "POST",
        "/<model:name>/classify",
        tag=_TAG,
        body="Picture",
        answers={200: "Classification", **dict.fromkeys((400, 404, 405, 406, 413, 415, 500, 503), "Error")},
        models="pictures",
    )
    def classify(self, request: Request, name: str) -> Response:
        """What the network says of a picture: JPEG, PNG, BMP, TIFF or WebP.

        The picture comes as it is, in JSON as base64 (either alphabet, with or without line breaks, also as
        a `data:` URL), or as the first file of a multipart form. Digits: dark on light, at least 28x28, the
        digit filling most of the picture.
        """
        manifest = self._models.engine.check(name)
        if manifest.stateful:
            raise Refused(405, f"{name} keeps state from frame to frame, so it runs in sessions only", Allow="GET")
        self._models.refuse_while_training(name)
        requests.check_type(request)
        data = self._models.body(request)
        content = requests.content_of(request, data)
        result = self._models.ask(request, name, data, content, protocol=PROTOCOL, picture_status=415)
        return answer(classification(manifest, result))


def classification(manifest: Manifest, result: wire.Result) -> dict[str, Any]:
    """What `classify` answers: the result; with `number` for digits, and for X-rays P(pneumonia) as `score`."""
    found: dict[str, Any] = dict(result)
    if manifest.output.labels == DIGITS:
        found = {"number": found.get("label", ""), **found}
    for entry in found.get("labels", ()):
        if isinstance(entry, dict) and str(entry.get("label", "")).lower() == PNEUMONIA:
            found["score"] = entry["score"]
    return found
