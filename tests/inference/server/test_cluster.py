"""Models on the cluster as the server sees them: where they run, in which jail, how many batches, what is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imageserver import metrics
from imageserver.inference.server.batching import Waiting
from imageserver.inference.server.elsewhere.workers import RemoteWorkers
from imageserver.inference.server.jails.own_workers import OwnWorkers
from imageserver.inference.server.jails.rights import NAMES, Jails
from imageserver.inference.server.worker import LOCAL
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere import cluster
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.cluster import main
from imageserver.limits import Limits

ADDRESS = cluster.address("ray://head.example.org:7")
MODEL = """
kind = "custom"
[input]
width = 8
height = 8
[runtime]
runtime = "python"
"""


def model(folder: Path, more: str = "") -> Manifest:
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(MODEL + more)
    (folder / "model.py").touch()
    return manifests.read(folder)


@pytest.fixture
def jails(tmp_path: Path) -> Jails:
    return Jails([tmp_path / "models"], tmp_path / "cache", memory=2**31, cluster=ADDRESS)


def test_its_program_understands_what_it_is_told(tmp_path: Path, jails: Jails) -> None:
    far = model(tmp_path / "models" / "far", '[cluster]\nreplicas = "1..8"')
    found = RemoteWorkers(Limits(), jails, print).kind(far)
    base = ["--control", "3", "--arena", "4", "--jail", jails.shared().to_text(), "--max-pixels", "9"]
    options = main.parser().parse_args([*base, *found.arguments])
    made = main.make_context(options)
    assert (found.slots, found.batches, options.cluster_slots) == (16, 16, 16)
    assert (made.address, made.jail, made.settings.seconds) == (ADDRESS, True, 12.0)
    assert made.arguments[2:4] == ("--max-pixels", "9")
    open_ones = Jails([tmp_path], tmp_path / "cache", enforced=False, cluster=ADDRESS)
    assert "--cluster-open" in RemoteWorkers(Limits(), open_ones, print).kind(far).arguments


def test_which_go_there(tmp_path: Path, jails: Jails) -> None:
    far = model(tmp_path / "models" / "far")
    here = model(tmp_path / "models" / "here", '[cluster]\nwhere = "here"')
    state = model(tmp_path / "models" / "state", "[state]")
    workers, own = RemoteWorkers(Limits(), jails, print), OwnWorkers(jails)
    assert [own.choose(each, []) for each in (far, here, state)] == [True, False, False]
    assert workers.kind(here) is workers.kind(state) is LOCAL
    without = Jails([tmp_path / "models"], tmp_path / "cache")
    assert RemoteWorkers(Limits(), without, print).kind(far) is LOCAL and not OwnWorkers(without).choose(far, [])
    with pytest.raises(manifests.ManifestError, match='cluster.where: must be "here"'):
        model(tmp_path / "models" / "both", '[state]\n[cluster]\nreplicas = "2"')


def test_its_jail_leads_to_the_cluster_alone(tmp_path: Path, jails: Jails, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(tmp_path / "missing.pem"))
    permitted = model(tmp_path / "models" / "far", '[jail]\nread = ["/srv/faces"]\nprocesses = true')
    jail = jails.own(permitted)
    assert (jail.network, jail.connect, jail.processes, jail.write) == (True, (7, NAMES), False, ())
    assert str(token) in jail.read and "/srv/faces" not in jail.read and str(tmp_path / "home") not in jail.read
    assert jail.memory > 2**31 + permitted.placement.most * wire.SLOTS * wire.SLOT_BYTES


class Worker:
    """As far as the figures know one."""

    def __init__(self, own: str, scaled: bool = True) -> None:
        self.own, self.kind = own, SimpleNamespace(scaled=scaled, slots=8)
        self.reads, self.told_waiting, self.room, self.places = True, 0.0, 8, 1
        self.retired, self.leaves, self.placing_since = False, 0, None
        self.sent: list[Any] = []
        self.process = SimpleNamespace(send=self.sent.append)


def test_it_is_told_for_how_long_pictures_wait_and_once_that_none_does(tmp_path: Path, jails: Jails) -> None:
    workers, worker, other = RemoteWorkers(Limits(), jails, print), Worker("far"), Worker("near", scaled=False)
    waiting = Waiting(8, 0.0)
    models: Any = {"far": SimpleNamespace(waiting=waiting), "near": SimpleNamespace(waiting=waiting)}
    both: Any = [worker, other]
    workers.tell(both, models, 100.0)
    waiting.add(SimpleNamespace(), 100.0)  # type: ignore[arg-type]
    workers.tell(both, models, 100.5)
    waiting.drain()
    for _ in range(3):
        workers.tell(both, models, 101.0)
    assert worker.sent == [{"op": "waiting", "seconds": 0.5}, {"op": "waiting", "seconds": 0.0}] and not other.sent


def test_what_it_tells_is_how_many_batches_it_gets_and_what_figures_say(jails: Jails) -> None:
    workers, worker = RemoteWorkers(Limits(), jails, print), Worker("far-away")
    told = {"op": "cluster", "model": "far-away", "places": 3, "batches": 6, "answered": 5, "lost": 1, "ended": 1}
    known: Any = worker
    workers.count(known, told | {"states": {"ready": 3, "placing": 1, "gone": 1}}, 0.0)
    workers.count(known, told | {"states": {"ready": 3}, "answered": 7, "batches": 1000}, 0.0)
    assert (worker.places, worker.room) == (3, 8), "never more than there is memory for"
    assert metrics.CLUSTER_BATCHES.child("far-away", "answered").value == 7
    assert metrics.CLUSTER_ENDED.child("far-away").value == 1
    assert metrics.CLUSTER_REPLICAS.child("far-away", "ready").value == 3
    workers.forget(known)
    assert ("far-away", "ready") not in metrics.CLUSTER_REPLICAS.children
    with pytest.raises(LookupError):
        workers.count(known, {"op": "cluster", "model": "far-away"}, 0.0)
