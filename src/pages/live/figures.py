"""How the server itself is doing, as live pages are told: its models, its trainings, its process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import imageserver
from imageserver import metrics
from imageserver.inference.server.engine import Engine
from imageserver.inference.server.model import ModelState, SharedModel
from imageserver.inference.server.stateful.models import StatefulModels
from imageserver.inference.server.training.trainings import Trainings
from imageserver.transport import memory
from imageserver.transport.budget import Budget

WINDOW = 5.5
"""Seconds over which rates are told, of counts that are made once a second."""
Row = dict[str, Any]


class Figures:
    """Reads what others count; nothing here waits.

    Args:
        engine: The models that share workers.
        stateful: Those of sessions.
        trainings: What is being trained.
        budget: The bytes that may wait for clients.
        most: Models that are told of, those in use first.
        lacking: Returns a sentence on what is gone without which cameras stream on, "" when nothing is.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        engine: Engine,
        stateful: StatefulModels,
        trainings: Trainings,
        budget: Budget,
        most: int,
        lacking: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._stateful, self._trainings = engine, stateful, trainings
        self._budget, self._most, self._lacking, self._clock = budget, most, lacking, clock
        self._begun = clock()
        self._counted: deque[tuple[float, dict[str, tuple[float, float]]]] = deque()

    def models(self) -> list[Row]:
        """State, runtime, rate, queue and error of each model; to be called about once a second."""
        now, counts = self._clock(), _pictures_and_batches()
        self._counted.append((now, counts))
        while now - self._counted[0][0] > WINDOW:  # as when nobody looked for a while
            self._counted.popleft()
        since, former = self._counted[0]
        listed = [model for model in self._engine.models.values() if model.manifest.listed or _in_use(model)]
        listed.sort(key=lambda model: (not _in_use(model), model.name))
        return [self._model(model, now - since, counts, former) for model in listed[: self._most]]

    def trainings(self) -> list[Row]:
        """The last training of each model, with what was told of it last."""
        return [
            {"model": name, "running": running, **{key: _rounded(value) for key, value in event.items()}}
            for name, running, event in self._trainings.latest()
        ]

    def server(self) -> Row:
        """The process: how long it runs, how late its loop is, what it holds, and what it has to do without."""
        lags = sorted(metrics.LATEST_LAGS)
        return {
            "version": imageserver.__version__,
            "uptime_s": int(self._clock() - self._begun),
            "lag_ms": {name: _part(lags, part) for name, part in (("p50", 0.5), ("p99", 0.99))},
            "memory": memory.resident(),
            "budget": {"used": self._budget.used, "total": int(self._budget.total)},
            "connections": {kind: int(number.value) for (kind,), number in metrics.CONNECTIONS.children.items()},
            "workers": len(self._engine.worker_pids()),
            "lacking": self._lacking(),
        }

    def _model(self, model: SharedModel, seconds: float, counts: dict[str, Any], former: dict[str, Any]) -> Row:
        name, manifest = model.name, model.manifest
        state, error = str(model.state), model.trouble if model.unusable else ""
        counted = name
        if manifest.stateful:
            state, error = self._stateful.state(name)
            counted = ""
        (pictures, batches), (pictures_before, batches_before) = (
            counts.get(counted, (0, 0)),
            former.get(counted, (0, 0)),
        )
        pictures, batches = pictures - pictures_before, batches - batches_before
        return {
            "name": name,
            "title": manifest.title,
            "state": state,
            "stateful": manifest.stateful,
            "trainable": self._trainings.trainable(name),
            "runtime": model.runtime,
            "fps": round(pictures / seconds, 1) if seconds else 0.0,
            "batch": round(pictures / batches, 1) if batches else None,
            "max_batch": manifest.batch.max_batch,
            "queue": len(model.waiting),
            "error": error,
        }


def _pictures_and_batches() -> dict[str, tuple[float, float]]:
    """What each model has done so far; those of sessions, which see the same frames, together as ""."""
    found: dict[str, tuple[float, float]] = {
        name: (sizes.sum, sum(sizes.counts)) for (name,), sizes in metrics.BATCH_SIZE.children.items()
    }
    found[""] = (metrics.FRAMES_PROCESSED.child("sessions").value, 0)
    return found


def _in_use(model: SharedModel) -> bool:
    return model.state is not ModelState.ABSENT


def _part(lags: list[float], part: float) -> float | None:
    """The lag, in milliseconds, that this part of them does not exceed."""
    return round(lags[min(int(len(lags) * part), len(lags) - 1)] * 1000, 1) if lags else None


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
