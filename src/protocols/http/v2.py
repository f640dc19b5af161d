"""The Open Inference Protocol (v2) over HTTP: health, models, infer. Source: KServe's specification of that name.

With the binary tensor and classification extensions, as Triton's clients speak them. Requests are taken apart in the
worker (inference/tensors.py, which also says what the tensors mean); here are the paths and what a model says of itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, g, request

from imageserver.errors import ModelError
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.protocols.http import openapi
from imageserver.protocols.http.openapi import operation
from imageserver.transport import hub
from imageserver.web.requests import Refused, answer

if TYPE_CHECKING:
    from imageserver.protocols.http.rest import Rest

PROTOCOL = "v2"
VERSION = "1"
"""Every model's version: the one that serves."""

LOADING = 20.0
"""Seconds that `/ready` waits for a model that is being loaded."""

HEADER = "Inference-Header-Content-Length"
_TAG = "Open Inference Protocol (v2)"
_MODEL = ("/v2/models/<model:name>", "/v2/models/<model:name>/versions/<version>")


class RestV2:
    """The views under /v2."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._engine = rest.streams.engine

    @operation("GET", "/v2", tag=_TAG, answers={200: "Server"}, credentials="checked")
    def server(self) -> Response:
        """What server this is and which extensions it has."""
        return answer(
            {"name": "ImageServer", "version": openapi.VERSION, "extensions": ["binary_tensor_data", "classification"]}
        )

    @operation("GET", "/v2/health/live", tag=_TAG, answers={200: "Live"})
    def live(self) -> Response:
        """Whether the server answers at all."""
        return answer({"live": True})

    @operation("GET", "/v2/health/ready", tag=_TAG, answers={200: "Ready", 503: "Ready"})
    def ready(self) -> Response:
        """Whether the server is ready: its default model is, and it is not stopping."""
        ready = self._rest.not_ready() is None
        return answer({"ready": ready}, 200 if ready else 503)

    @operation("GET", "/v2/models", tag=_TAG, answers={200: "ModelList"}, credentials="checked")
    def models(self) -> Response:
        """The names of the models that take single pictures."""
        return answer(
            {"models": sorted(name for name, model in self._engine.models.items() if not model.manifest.stateful)}
        )

    @operation("GET", *_MODEL, tag=_TAG, answers={200: "Model"}, credentials="checked", models="pictures")
    def model(self, name: str, version: str = VERSION) -> Response:
        """A model's tensors: what it takes and gives.

        The input may be sent in other types as well: BYTES `[n]`, picture files (base64 in JSON), which are then decoded and
        preprocessed just as `classify` does; or, for networks, FP32 in the shape that the network itself takes.
        """
        return answer(metadata(self._manifest(name, version), self._engine.models[name].runtime))

    @operation(
        "GET",
        *(f"{path}/ready" for path in _MODEL),
        tag=_TAG,
        answers={200: "ModelReady", 503: "ModelReady"},
        credentials="checked",
        models="pictures",
    )
    def model_ready(self, name: str, version: str = VERSION) -> Response:
        """Whether a model is ready. One that nobody used yet is loaded first."""
        self._manifest(name, version)
        try:
            self._engine.prepare(name)
            with hub.Timeout(LOADING):
                ready = self._engine.wait_ready(name)
        except (ModelError, hub.TimedOut, KeyError):
            ready = False
        return answer({"name": name, "ready": ready}, 200 if ready else 503)

    @operation(
        "POST",
        *(f"{path}/infer" for path in _MODEL),
        tag=_TAG,
        body="InferRequest",
        answers={200: "InferAnswers"},
        credentials="checked",
        models="pictures",
    )
    def infer(self, name: str, version: str = VERSION) -> Response:
        """Run a model on one tensor that holds the pictures: JSON, or with the binary tensor extension.

        Tensors of up to `max_batch` pictures: UINT8 pixels, BYTES picture files, or FP32 (see the model's description).
        """
        self._manifest(name, version)
        head = self._head()
        data = self._rest.body()
        if head > len(data):
            raise Refused(400, f"{HEADER} is {head}, but the body has {len(data)} bytes")
        user = g.user
        content = f"{wire.CONTENT_INFERENCE};{head}"
        result = self._rest.streams.ask(name, data, protocol=PROTOCOL, content=content, rotate=user.rotate if user else 0)
        self._rest.refuse_failed(name, result, picture_status=400)
        size = result["answer"]["head"]
        response = Response(result["body"], mimetype="application/octet-stream" if size else "application/json")
        response.headers["Cache-Control"] = "no-store"
        if size:
            response.headers[HEADER] = str(size)
        return response

    def _manifest(self, name: str, version: str) -> Manifest:
        if version != VERSION:
            raise Refused(404, f"the model {name!r} has the version {VERSION} only")
        manifest = self._rest.manifest(name)
        if manifest.stateful:
            raise Refused(404, f"{name} keeps state from frame to frame, so it runs in sessions only")
        return manifest

    def _head(self) -> int:
        """Bytes of JSON before binary tensors; 0: the body is all JSON."""
        text = request.headers.get(HEADER)
        if text is None:
            kind = request.mimetype
            if kind not in ("application/json", "application/octet-stream", ""):
                raise Refused(
                    415, f"send JSON, or JSON with binary tensors behind it and the header {HEADER}; not {kind[:64]!r}"
                )
            return 0
        if not text.isascii() or not text.isdecimal() or int(text) < 1 or len(text) > 9:
            raise Refused(400, f"{HEADER} must be a number of bytes, not {text[:32]!r}")
        return int(text)


def metadata(manifest: Manifest, runtime: str) -> dict[str, Any]:
    """A model's metadata as the protocol wants it; `runtime` as the worker named it, "" before it is loaded."""
    outputs = [{"name": "result", "datatype": "BYTES", "shape": [-1]}]
    if manifest.members or manifest.runtime.runtime != "python":
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
