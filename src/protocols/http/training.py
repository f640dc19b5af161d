"""Training over REST: start it, watch it, cancel it, ask how the last one went."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from imageserver.accounts.audit import Audit, AuditEvent
from imageserver.config.table import Settings
from imageserver.errors import Refused, TrainingError
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.training.trainings import Trainings
from imageserver.inference.shared.manifest import Manifest
from imageserver.protocols.http.models import RequestedModels
from imageserver.transport.http.origins import looks_like_browser
from imageserver.web import query
from imageserver.web.followers import Followers
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

SAMPLES = ("mnist", "other")
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent to those who follow, so that proxies keep the connection."""

RETRY = 10
"""Seconds after which a browser asks again when the stream has ended."""
RETRY_SERVER = 1
"""The same where it ends with the server: the next one may be up already."""

_TAG = "Training"


def trainings(
    settings: Settings, find: Callable[[str], Manifest], jails: Jails, *, log: Callable[[str], None], audit: Audit
) -> Trainings:
    """The trainings that these settings allow; `find` gives a model's manifest, and `audit` notes their ends."""
    sources = {"mnist": ["--mnist", str(settings.mnist)] if settings.mnist else []}
    if settings.training_data is not None:
        sources["other"] = ["--pictures", str(settings.training_data)]
    # One processor stays free for serving.
    threads = max(1, (os.cpu_count() or 1) - 1)
    arguments = ["--threads", str(threads), "--samples", str(settings.training_samples)]
    arguments += ["--most-pictures", str(settings.training_pictures)]
    arguments += ["--models-cache", str(jails.cache)]

    def ended(sentence: str) -> None:
        audit.note(AuditEvent.TRAINING_ENDED, detail=sentence)

    return Trainings(settings.data, find, sources, arguments, jails, log=log, ended=ended)


class TrainingJobs:
    """The views under `/<name>/train`."""

    def __init__(self, models: RequestedModels, followers: Followers) -> None:
        self._models, self._trainings = models, models.trainings
        self._followers = followers

    @operation(
        "POST",
        "/<model:name>/train",
        tag=_TAG,
        query=("training_sample",),
        answers={200: "Text", **dict.fromkeys((400, 405, 406), "Error")},
        models="trainable",
    )
    def train(self, request: Request, name: str) -> Response:
        """Start a training. It runs in the background; the model is not served meanwhile to those who ask it by name.

        The new model replaces the old one when it is at most one percentage point worse on the held-out
        pictures.
        """
        self._trainable(name)
        sample = query.choice(request, "training_sample", SAMPLES)
        try:
            self._trainings.start(name, sample)
        except TrainingError as error:
            raise Refused(406, str(error)) from error
        return answer({"text": "training has started"})

    @operation(
        "GET",
        "/<model:name>/train",
        tag=_TAG,
        query=("training_sample",),
        answers={200: "Text", **dict.fromkeys((400, 405, 406), "Error")},
        models="trainable",
        deprecated=True,
    )
    def train_as_before(self, request: Request, name: str) -> Response:
        """Start a training, as programs did before there was POST.

        405 for browsers, which open an address because any page asks them to.
        """
        if looks_like_browser(request.environ):
            raise Refused(405, "a training is started by POST, not by opening its address", Allow="POST")
        return self.train(request, name)

    @operation(
        "GET",
        "/<model:name>/train/status",
        tag=_TAG,
        answers={200: "TrainingStatus", **dict.fromkeys((405, 406), "Error")},
        models="trainable",
    )
    def status(self, _request: Request, name: str) -> Response:
        """How the last completed training went. While one runs: 406, and how far it is."""
        self._trainable(name)
        self._models.refuse_while_training(name)
        record = self._trainings.record(name)
        found = {"accuracy": record.accuracy or "unknown", "datetime": record.datetime or "unknown"}
        return answer(found | {"note": record.note} if record.note else found)

    @operation(
        "GET",
        "/<model:name>/train/events",
        tag=_TAG,
        answers={200: "Events", 405: "Error"},
        models="trainable",
    )
    def events(self, request: Request, name: str) -> Response:
        """What happens in the training, as server-sent events, until it ends.

        The first event tells how things stand; when no training runs it is the only one. Each is a JSON
        object with `state` (idle, preparing, training, evaluating, completed, kept aside, cancelled,
        failed) and `text`; while it trains with phase, epoch, epochs, part (of the epoch, 0 to 1), loss,
        accuracy (0 to 1) and seconds_left as well.
        """
        self._trainable(name)
        response = self._followers.admit(request, Response(self._events(name), mimetype="text/event-stream"))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold the events back
        return response

    def _events(self, name: str) -> Iterator[bytes]:
        yield f"retry: {RETRY * 1000}\n\n".encode()
        for event in self._trainings.follow(name, HEARTBEAT):
            line = ": still there" if event is None else f"data: {json.dumps(_rounded(event), ensure_ascii=False)}"
            yield f"{line}\n\n".encode()
        if self._trainings.stopping:
            yield f"retry: {RETRY_SERVER * 1000}\n\n".encode()

    @operation(
        "POST",
        "/<model:name>/train/cancel",
        tag=_TAG,
        answers={200: "Text", **dict.fromkeys((405, 409), "Error")},
        models="trainable",
    )
    def cancel(self, _request: Request, name: str) -> Response:
        """End the training that runs. The model from before serves on."""
        self._trainable(name)
        if not self._trainings.cancel(name):
            raise Refused(409, f"no training of {name} runs")
        return answer({"text": "the training is being cancelled"})

    def _trainable(self, name: str) -> None:
        self._models.engine.check(name)
        if not self._trainings.trainable(name):
            raise Refused(405, f"{name} cannot be trained here", Allow="")


def _rounded(event: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in event.items()}
