"""A server whose models run on a cluster of Ray's, a head and nodes on this machine; and what becomes of it then."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests import ray_cluster
from tests.faults.load import Cameras
from tests.ray_cluster import RayCluster, RayServer
from tests.running import TEST_MODELS, Server, picture, until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(ray_cluster.lacking()), reason=ray_cluster.lacking()),
    pytest.mark.timeout(900),
]
PATIENCE = 180.0

NAPS = """
import time

class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        time.sleep(0.02)
        return [{"label": str(round(float(picture.mean()))), "score": 1.0, "labels": []} for picture in batch]
"""
MANIFEST = """
kind = "custom"
[input]
width = 16
height = 16
channels = 1
[batch]
max_batch = 1
[runtime]
runtime = "python"
[cluster]
cpus = 1
replicas = "%s"
"""


def napping(folder: Path, replicas: str, name: str = "naps") -> Path:
    """A model that sleeps 20 ms a picture."""
    made = folder / name
    made.mkdir(parents=True)
    (made / "model.toml").write_text(MANIFEST % replicas)
    (made / "model.py").write_text(NAPS)
    return made


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster() as found:
        for _ in range(3):
            found.add_node(2)
        yield found


def serving(cluster: RayCluster, folder: Path, model: str, *arguments: str) -> RayServer:
    """A server over the models in `folder`."""
    data = folder.parent / f"data-{time.monotonic_ns()}"
    data.mkdir()
    return RayServer("--cluster", cluster.address, *arguments, data=data, models=folder, model=model)


def ready(server: Server) -> None:
    until(lambda: server.get("/health/ready")[0] == 200, f"readiness\n{server.text}", PATIENCE, 0.2)


def figure(server: Server, name: str, **labels: str) -> float:
    """A figure of /metrics; 0 where it is not there."""
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    found = re.search(rf"^{name}{{{wanted}}} (\S+)$", server.get("/metrics")[1].decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def replicas(server: Server, model: str, count: int) -> None:
    what = f"{count} replicas\n{server.text[-3000:]}"
    until(
        lambda: figure(server, "imageserver_cluster_replicas", model=model, state="ready") == count, what, PATIENCE, 0.2
    )


def classify(server: Server, model: str, data: bytes) -> requests.Response:
    return requests.post(f"{server.url}/{model}/classify", data=data, timeout=60)


def staying(models: Path) -> None:
    """A model `home` that runs at the server, whatever the cluster has room for."""
    shutil.copytree(TEST_MODELS / "echo", models / "home")
    with (models / "home" / "model.toml").open("a") as manifest:
        manifest.write('\n[cluster]\nwhere = "here"\n')


def throughput(server: Server, model: str, threads: int, seconds: float) -> float:
    """Pictures a second that so many clients have answered, each one after the other."""
    answered, end, data = [0] * threads, time.monotonic() + seconds, picture(9, 16, 16)

    def ask(index: int) -> None:
        with requests.Session() as session:
            while time.monotonic() < end:
                answer = session.post(f"{server.url}/{model}/classify", data=data, timeout=60)
                answered[index] += answer.status_code == 200

    running = [threading.Thread(target=ask, args=(index,)) for index in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return sum(answered) / seconds


def test_it_is_answered_there_and_models_that_stay_are_answered_here(cluster: RayCluster, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(TEST_MODELS / "echo", models / "echo")
    staying(models)
    with serving(cluster, models, "echo", "--preload", "home") as server:
        ready(server)
        for grey in (9, 200):
            found = classify(server, "echo", picture(grey)).json()
            assert (found["label"], found["size"]) == (str(grey), [64, 48])
        assert classify(server, "home", picture(9)).json()["label"] == "9"
        about = requests.get(f"{server.url}/v2/models/echo", timeout=60).json()
        assert about["platform"] == "python, on the cluster"
        assert requests.get(f"{server.url}/v2/models/home", timeout=60).json()["platform"] == "python"
        assert classify(server, "echo", b"no picture").status_code == 415
        with Cameras(server.port, count=4, hz=10) as cameras:
            cameras.settle()
            cameras.figures()
            time.sleep(3)
            figures = cameras.figures()
        assert figures.answered > 10 and not figures.errors, figures
        code = (models / "echo" / "model.py").read_text()
        (models / "echo" / "model.py").write_text(code.replace("str(", "'new ' + str(", 1))
        labels = set[str]()

        def new() -> bool:
            labels.add(classify(server, "echo", picture(9)).json()["label"])
            return "new 9" in labels

        until(new, "the new version", PATIENCE, 0.1)
        assert labels == {"9", "new 9"}, "the former version serves until then"
    assert "Traceback" not in server.text, server.text


def test_a_model_that_fills_the_cluster_is_loaded_anew(tmp_path: Path) -> None:
    """The former version leaves a replica to the newer one, and answers all the time until that is loaded."""
    models = tmp_path / "models"
    made = napping(models, "2")
    with RayCluster() as cluster:
        cluster.add_node(2)
        with serving(cluster, models, "naps") as server:
            replicas(server, "naps", 2)
            (made / "model.py").write_text(NAPS.replace("str(", "'new ' + str(", 1))
            labels, data, begun = set[str](), picture(9, 16, 16), time.monotonic()

            def new() -> bool:
                answer = classify(server, "naps", data)
                assert answer.status_code == 200, answer.text
                labels.add(answer.json()["label"])
                return "new 9" in labels

            until(new, f"the new version\n{server.text[-3000:]}", PATIENCE, 0.1)
            print(f"the new version answers after {time.monotonic() - begun:.1f} s")
            assert labels == {"9", "new 9"}
            replicas(server, "naps", 2)
            assert classify(server, "naps", data).json()["label"] == "new 9"


def test_four_replicas_do_nearly_four_times_as_much(cluster: RayCluster, tmp_path: Path) -> None:
    models = tmp_path / "models"
    napping(models, "1", "one")
    napping(models, "4", "four")
    with serving(cluster, models, "one", "--preload", "four") as server:
        replicas(server, "one", 1)
        replicas(server, "four", 4)
        one, four = throughput(server, "one", 4, 10), throughput(server, "four", 16, 10)
    print(f"one replica: {one:.1f} a second, four: {four:.1f}, {four / one:.2f} times as many")
    assert four >= 3.6 * one


def test_more_while_pictures_wait_less_afterwards_and_none_is_lost(cluster: RayCluster, tmp_path: Path) -> None:
    models = tmp_path / "models"
    napping(models, "1..3")
    limits = ("--cluster-wait", "50ms", "--cluster-idle", "5s")
    with serving(cluster, models, "naps", *limits) as server:
        replicas(server, "naps", 1)
        with Cameras(server.port, count=12, hz=10) as cameras:
            cameras.settle()
            replicas(server, "naps", 3)
            cameras.figures()
            time.sleep(2)
            assert not cameras.figures().errors
        replicas(server, "naps", 1)
        with Cameras(server.port, count=1, hz=5) as cameras:
            cameras.settle()
        assert figure(server, "imageserver_cluster_batches_total", model="naps", result="lost") == 0
        assert figure(server, "imageserver_cluster_ended_total", model="naps") == 0


def test_a_node_that_is_killed_costs_frames_and_its_capacity_is_back(tmp_path: Path) -> None:
    models = tmp_path / "models"
    napping(models, "3")
    staying(models)
    with RayCluster() as cluster:
        nodes = [cluster.add_node(2) for _ in range(3)]
        with serving(cluster, models, "naps", "--preload", "home") as server:
            replicas(server, "naps", 3)
            with Cameras(server.port, count=6, hz=10) as cameras:
                cameras.settle()
                cameras.figures()
                nodes[0].kill()
                begun = time.monotonic()
                until(lambda: figure(server, "imageserver_cluster_ended_total", model="naps"), "the loss", 30, 0.1)
                known = time.monotonic()
                until(
                    lambda: figure(server, "imageserver_cluster_replicas", model="naps", state="ready") == 3,
                    f"the capacity\n{server.text[-3000:]}",
                    60,
                    0.1,
                )
                back = time.monotonic()
                figures = cameras.figures()
                print(f"known after {known - begun:.1f} s, capacity back {back - known:.1f} s later; {figures}")
                assert figures.lost == 0 and not figures.errors, figures
                assert figures.silence < 5, figures
                assert back - known < 10
            assert classify(server, "home", picture(9)).json()["label"] == "9"


def test_without_the_cluster_the_server_says_so_and_finds_it_again(tmp_path: Path) -> None:
    models = tmp_path / "models"
    napping(models, "1")
    staying(models)
    with RayCluster() as cluster:
        cluster.add_node(2)
        with serving(cluster, models, "naps", "--preload", "home") as server:
            ready(server)
            assert cluster.head is not None
            for node in (*cluster.nodes, cluster.head):
                node.kill()
            until(lambda: b"does not answer" in server.get("/health/ready")[1], f"{server.text[-3000:]}", 60, 0.2)
            answer = classify(server, "naps", picture(9))
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert classify(server, "home", picture(9)).json()["label"] == "9"
            cluster.start_head()
            cluster.add_node(2)
            ready(server)
            assert classify(server, "naps", picture(9)).json()["label"] == "9"


def test_what_cannot_be_placed_is_a_sentence(cluster: RayCluster, tmp_path: Path) -> None:
    models = tmp_path / "models"
    made = napping(models, "1")
    manifest: Any = (made / "model.toml").read_text()
    (made / "model.toml").write_text(manifest + "gpus = 2\n")
    with serving(cluster, models, "naps") as server:
        said = "it needs 1 processor, 2 graphics cards on one node, and the largest of the cluster has"
        until(lambda: said.encode() in server.get("/health/ready")[1], f"the sentence\n{server.text}", PATIENCE, 0.2)


def test_the_replicas_of_a_server_that_was_killed_end(cluster: RayCluster, tmp_path: Path) -> None:
    models = tmp_path / "models"
    napping(models, "6")
    with serving(cluster, models, "naps") as server:
        replicas(server, "naps", 6)
        server.process.kill()
        server.process.wait()
    with serving(cluster, models, "naps") as server:
        replicas(server, "naps", 6)  # there is room for six in all
