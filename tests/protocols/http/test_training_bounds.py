"""How many may train, and how many may watch: without a server, since what is bounded is who waits in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from imageserver import metrics
from imageserver.errors import Refused, TrainingError
from imageserver.inference.server.training.run import TrainingRun
from imageserver.inference.server.training.trainings import Trainings
from imageserver.protocols.http.training import TrainingJobs
from imageserver.web.followers import Followers
from imageserver.web.requests import Request


def request(address: str) -> Request:
    builder = EnvironBuilder(environ_base={"REMOTE_ADDR": address})
    return Request(builder.get_environ(), populate_request=False)


def jobs(most_followers: int) -> TrainingJobs:
    """The views, over a training that never ends."""
    endless: Any = SimpleNamespace(trainable=lambda _name: True, follow=lambda _name, _heartbeat: iter(()))
    models: Any = SimpleNamespace(trainings=endless, engine=SimpleNamespace(check=lambda _name: None))
    return TrainingJobs(models, Followers("training_followers", most_followers, "trainings", print))


def test_an_address_has_a_quarter_of_the_places_of_those_who_follow() -> None:
    views = jobs(8)
    hits = metrics.LIMITS_HIT.child("training-followers")
    before = hits.value
    first = [views.events(request("10.0.0.1"), "lenet") for _ in range(2)]
    with pytest.raises(Refused, match="from your address") as refused:
        views.events(request("10.0.0.1"), "lenet")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "60")
    others = [views.events(request(f"10.0.0.{2 + number // 2}"), "lenet") for number in range(6)]
    with pytest.raises(Refused, match="from the server"):
        views.events(request("10.0.0.9"), "lenet")
    assert hits.value == before + 2
    first[0].close()
    views.events(request("10.0.0.9"), "lenet").close()
    for response in (*others, first[1]):
        response.close()
    assert len(views._followers) == 0


def test_of_two_that_start_at_the_same_moment_one_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest: Any = SimpleNamespace(folder=tmp_path)
    jails: Any = None
    trainings = Trainings(tmp_path, lambda _name: manifest, {"mnist": []}, [], jails, log=print)
    seen: list[str] = []

    def start(_self: TrainingRun, *_arguments: Any) -> None:
        with pytest.raises(TrainingError) as refused:  # as another request does while this one makes a folder
            trainings.start("lenet", "mnist")
        seen.append(str(refused.value))

    monkeypatch.setattr(TrainingRun, "start", start)
    trainings.start("lenet", "mnist")
    trainings.start("lenet", "mnist")
    assert seen == ["a training is about to begin; one training at a time"] * 2
