"""Every figure is defined once, documented, served, and counts what its sentence says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from tests.running import ROOT, Camera, Server, picture, until

from imageserver import metrics
from imageserver.accounts.database import UserDB
from imageserver.monitoring import prometheus


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("--max-frame-bytes", "64K", "--workers", "1", data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


def figures(server: Server) -> dict[str, float]:
    """Every sample as `name{label=value,…}`."""
    status, body = server.get("/metrics")
    assert status == 200
    return {
        sample.name + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == prometheus.reference(), "run `make docs`"


@pytest.mark.parametrize("metric", metrics.ALL, ids=lambda metric: metric.name)
def test_names_and_sentences_keep_the_conventions(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"imageserver_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.sentence.endswith(".")


def test_every_figure_is_used() -> None:
    names = {name for name in vars(metrics) if name.isupper() and name != "ALL"}
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py") if path.name != "metrics.py")
    assert {name for name in names if f"metrics.{name}" not in code} == set()


def test_frames_are_counted_by_what_became_of_them(server: Server) -> None:
    before = figures(server)
    with Camera(server) as camera:
        camera.ask(picture(10))
        camera.ask(b"no picture")
        camera.ask(bytes(70_000))
        camera.configure(model="slow")
        camera.ask(picture(20))
        for _ in range(6):
            camera.send(picture(20))
        until(lambda: camera.predictions[-1]["seq"] == 10, "the newest of six to be answered")
        now = figures(server)
        assert now["imageserver_streams"] == 1

    def grown(name: str) -> float:
        return now[name] - before.get(name, 0)

    assert grown("imageserver_frames_received_total{protocol=camstream}") == 10
    processed, replaced = (
        grown(f"imageserver_frames_{what}_total{{protocol=camstream}}") for what in ("processed", "replaced")
    )
    assert processed + replaced == 8
    assert replaced >= 4, "one ran, one waited"
    assert grown("imageserver_frames_refused_total{protocol=camstream}{reason=picture}") == 1
    assert grown("imageserver_frames_refused_total{protocol=camstream}{reason=too large}") == 1
    assert grown("imageserver_prediction_age_seconds_count{protocol=camstream}") == processed
    assert grown("imageserver_batch_size_count{model=slow}") == processed - 1
    assert grown("imageserver_received_bytes_total{protocol=camstream}") > 70_000


def test_restarts_and_what_ended_a_worker_twice_are_counted(tmp_path: Path) -> None:
    with Server(data=tmp_path) as server, Camera(server.ready()) as camera:
        camera.configure(model="crash")
        assert "ended while 'crash' ran on this picture" in camera.ask(picture())["error"]
        now = figures(server)
        assert now["imageserver_worker_restarts_total"] >= 2
        assert now["imageserver_frames_refused_total{protocol=camstream}{reason=model}"] == 1


def test_with_auth_figures_are_for_viewers(tmp_path: Path) -> None:
    users = UserDB(tmp_path / "users.db")
    users.add("eve", "secret", ("viewer",))
    users.add("cam", "secret")
    with Server("-a", data=tmp_path) as server:
        server.ready()
        without_role = requests.get(server.url + "/metrics", auth=("cam", "secret"), timeout=30)
        assert (without_role.status_code, "viewer" in without_role.text) == (403, True)
        assert "WWW-Authenticate" not in without_role.headers, "another password would not help"
        refused = requests.get(server.url + "/metrics", timeout=30)
        assert (refused.status_code, refused.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
        assert requests.get(server.url + "/metrics", auth=("eve", "wrong"), timeout=30).status_code == 401
        assert (
            "imageserver_logins_total" in requests.get(server.url + "/metrics", auth=("eve", "secret"), timeout=30).text
        )
