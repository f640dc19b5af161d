"""The Open Inference Protocol (v2) over HTTP: health, models, infer. Source: KServe's specification of that name.

With the binary tensor and classification extensions, as Triton's clients speak them. Requests are taken
apart in the worker (inference/worker/tensors.py, which also says what the tensors mean); here are the paths
and what a model says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from imageserver.errors import ModelError, Refused, TimedOut
from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere import open_inference
from imageserver.inference.shared.manifest import Manifest
from imageserver.protocols.http.models import DEADLINE, RequestedModels
from imageserver.transport import hub
from imageserver.web import openapi, requests
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

PROTOCOL = "v2"
VERSION = "1"
"""Every model's version: the one that serves."""

LOADING = 20.0
"""Seconds that `/ready` waits for a model that is being loaded."""

HEADER = "Inference-Header-Content-Length"
WAITS = "X-Envoy-Expected-Rq-Timeout-Ms"
_TAG = "Open Inference Protocol (v2)"
_MODEL = ("/v2/models/<model:name>", "/v2/models/<model:name>/versions/<version>")


class OpenInference:
    """The views under /v2. `not_ready` returns None when the server is ready, else one sentence."""

    def __init__(self, models: RequestedModels, not_ready: Callable[[], str | None]) -> None:
        self._models, self._engine, self._not_ready = models, models.engine, not_ready

    @operation("GET", "/v2", tag=_TAG, answers={200: "Server"})
    def server(self, _request: Request) -> Response:
        """What server this is and which extensions it has."""
        return answer(
            {"name": "ImageServer", "version": openapi.VERSION, "extensions": ["binary_tensor_data", "classification"]}
        )

    @operation("GET", "/v2/health/live", tag=_TAG, answers={200: "Live"})
    def live(self, _request: Request) -> Response:
        """Whether the server answers at all."""
        return answer({"live": True})

    @operation("GET", "/v2/health/ready", tag=_TAG, answers={200: "Ready", 503: "Ready"})
    def ready(self, _request: Request) -> Response:
        """Whether the server is ready: its default model is, and it is not stopping."""
        ready = self._not_ready() is None
        return answer({"ready": ready}, 200 if ready else 503)

    @operation("GET", "/v2/models", tag=_TAG, answers={200: "ModelList"})
    def models(self, _request: Request) -> Response:
        """The names of the models that take single pictures."""
        return answer({"models": [manifest.name for manifest in self._models.listed() if not manifest.stateful]})

    @operation("GET", *_MODEL, tag=_TAG, answers={200: "Model"}, models="pictures")
    def model(self, _request: Request, name: str, version: str = VERSION) -> Response:
        """A model's tensors: what it takes and gives.

        The input may be sent in other types as well: BYTES `[n]`, picture files (base64 in JSON), which are
        then decoded and preprocessed just as `classify` does; or, for networks, FP32 in the shape that the
        network itself takes.
        """
        return answer(metadata(self._manifest(name, version), self._engine.models[name].runtime))

    @operation(
        "GET",
        *(f"{path}/ready" for path in _MODEL),
        tag=_TAG,
        answers={200: "ModelReady", 503: "ModelReady"},
        models="pictures",
    )
    def model_ready(self, _request: Request, name: str, version: str = VERSION) -> Response:
        """Whether a model is ready. One that nobody used yet is loaded first."""
        self._manifest(name, version)
        try:
            self._engine.prepare(name)
            with hub.Timeout(LOADING):
                ready = self._engine.wait_ready(name)
        except (ModelError, TimedOut, KeyError):
            ready = False
        return answer({"name": name, "ready": ready}, 200 if ready else 503)

    @operation(
        "POST",
        *(f"{path}/infer" for path in _MODEL),
        tag=_TAG,
        body="InferRequest",
        answers={200: "InferAnswers"},
        models="pictures",
    )
    def infer(self, request: Request, name: str, version: str = VERSION) -> Response:
        """Run a model on one tensor that holds the pictures: JSON, or with the binary tensor extension.

        Tensors of up to `max_batch` pictures: UINT8 pixels, BYTES picture files, or FP32 (see the model's
        description).
        """
        self._manifest(name, version)
        head = _head(request)
        data = self._models.body(request)
        if head > len(data):
            raise Refused(400, f"{HEADER} is {head}, but the body has {len(data)} bytes")
        content = f"{wire.CONTENT_INFERENCE};{head}"
        result = self._models.ask(
            request, name, data, content, protocol=PROTOCOL, picture_status=400, deadline=_deadline(request)
        )
        size = result["answer"]["head"]
        response = Response(result["body"], mimetype="application/octet-stream" if size else "application/json")
        response.headers["Cache-Control"] = "no-store"
        if size:
            response.headers[HEADER] = str(size)
        return response

    @operation(
        "GET",
        "/v2/models/stats",
        *(f"{path}/stats" for path in _MODEL),
        tag=_TAG,
        answers={404: "Error"},
    )
    def statistics(self, _request: Request, name: str = "", version: str = VERSION) -> Response:
        """Nothing: the extension that counts inferences is not there."""
        raise Refused(404, "this server does not have the statistics extension; /metrics has its figures")

    def _manifest(self, name: str, version: str) -> Manifest:
        if version != VERSION:
            raise Refused(404, f"the model {name!r} has the version {VERSION} only")
        manifest = self._engine.check(name)
        if manifest.stateful:
            raise Refused(404, f"{name} keeps state from frame to frame, so it runs in sessions only")
        return manifest


def _head(request: Request) -> int:
    """Bytes of JSON before binary tensors; 0: the body is all JSON."""
    text = request.headers.get(HEADER)
    if text is None:
        requests.check_type(request)
        return 0
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise Refused(400, f"{HEADER} must be a number of bytes, not {text[:32]!r}")
    return int(text)


def _deadline(request: Request) -> float:
    """Seconds for which the client says that it waits, as proxies and other ImageServers do."""
    text = request.headers.get(WAITS, "")
    return min(DEADLINE, int(text) / 1000) if re.fullmatch("[0-9]{1,9}", text) else DEADLINE


def metadata(manifest: Manifest, runtime: str) -> dict[str, Any]:
    """A model's metadata as the protocol wants it; `runtime` as the worker named it, "" before it is loaded."""
    outputs = [{"name": "result", "datatype": "BYTES", "shape": [-1]}]
    remote = manifest.runtime.remote
    gives_scores = manifest.runtime.runtime != "python" and (remote is None or remote.send == open_inference.TENSOR)
    if manifest.kind == "classification" and (manifest.members or gives_scores):
        outputs = [
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(manifest.output.labels) or -1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ]
    return {
        "name": manifest.name,
        "versions": [VERSION],
        "platform": runtime or manifest.runtime.runtime,
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, manifest.input.channels]}],
        "outputs": outputs,
    }
