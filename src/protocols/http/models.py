"""The models as HTTP requests name them: what cannot be had is refused with the status code of docs/rest.md."""

from __future__ import annotations

from imageserver.errors import Refused
from imageserver.inference.server.training.trainings import Trainings
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.streams.stream import Streams
from imageserver.web import requests
from imageserver.web.requests import Request

PROTOCOL = "rest"
DEADLINE = 30.0
"""Seconds that a request waits for its answer."""


class RequestedModels:
    """Finds the models of `streams` by name, asks them, and keeps those that are being trained from being asked."""

    def __init__(self, streams: Streams, trainings: Trainings) -> None:
        self.trainings = trainings
        self.max_body = min(requests.MAX_BODY, streams.max_frame_bytes)
        self._streams = streams
        self.engine = streams.engine

    def listed(self) -> list[Manifest]:
        """The manifests of the models that lists show, by name."""
        manifests = [model.manifest for _name, model in sorted(self.engine.models.items())]
        return [manifest for manifest in manifests if manifest.listed]

    def answering(self, name: str) -> bool:
        """Whether a model takes single pictures and would answer now: it has its weights, and has not failed."""
        model = self.engine.models.get(name)
        if model is None:
            return False
        weights = model.manifest.runtime.weights
        usable = not model.unusable and (weights is None or weights.exists())
        return usable and not model.manifest.stateful

    def refuse_while_training(self, name: str) -> None:
        """Refuse with 406 while `name` is being trained."""
        if running := self.trainings.running(name):
            raise Refused(406, running)

    def body(self, request: Request) -> bytearray:
        """The request's body."""
        return requests.body(request, PROTOCOL)

    def ask(
        self,
        request: Request,
        name: str,
        data: bytearray,
        content: str,
        *,
        protocol: str,
        picture_status: int,
        deadline: float = DEADLINE,
    ) -> wire.Result:
        """What the model found in a body; with the name of the camera, where one was said.

        Args:
            request: Whose user says how pictures are turned.
            name: The model's.
            data: The body.
            content: What it is (wire.CONTENT_…).
            protocol: Under which name it is counted.
            picture_status: The status code for a picture that cannot be used.
            deadline: Seconds until nobody waits for the answer any more.

        Raises:
            Refused: The body, the picture, the model or the name of the camera is at fault.
            ImageServerError: As `Streams.ask` says.
        """
        camera, account = request.camera, request.account
        rotate = request.user.rotate if request.user else 0
        result = self._streams.ask(
            name, data, protocol=protocol, content=content, rotate=rotate, account=account, deadline=deadline
        )
        if "error" not in result:
            if camera:
                result["camera"] = camera
            return result
        if result["reason"] == "busy":
            raise Refused(503, result["error"], Retry_After="5")
        if result["reason"] != "model":
            raise Refused(400 if result["reason"] == "body" else picture_status, result["error"])
        model = self.engine.models.get(name)
        if model is not None and model.state == "ready":
            raise Refused(500, result["error"])
        raise Refused(503, result["error"], Retry_After="5")
