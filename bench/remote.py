"""What the hop elsewhere adds: LeNet asked over REST, by a worker here, at a second ImageServer, and on Ray.

    python bench/remote.py [--requests 400] [--check]

All of it runs on this machine, and the same server is asked for both models in turn, one request after the other, so
that whatever else the machine does meets both alike. The picture goes on as it came and is decoded there. Ray is asked
where build/ray is (`make test-long` makes it). `--check` asks that a hop adds at most 5 ms at the 95th percentile.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests import ray_cluster

DIGIT = ROOT / "clients" / "samples" / "digits" / "7.png"
MOST = 5.0
"""Milliseconds."""
MANIFEST = """
kind = "classification"
[input]
width = 28
height = 28
channels = 1
[output]
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
[runtime]
runtime = "open_inference"
endpoint = ["http://127.0.0.1:{port}"]
model = "lenet"
send = "picture"
"""
Took = dict[str, list[float]]
"""Milliseconds of requests, by model, the shortest first."""


@contextlib.contextmanager
def served(folder: Path, *arguments: str, python: Path = Path(sys.executable)) -> Iterator[int]:
    """A server over the models in `folder`, ready: its port."""
    command = [str(python), str(ROOT / "src" / "ImageServer.py"), "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off"]
    said = folder / "said.txt"
    with said.open("wb") as output:
        places = ["--data", str(folder), "--models", str(folder / "models"), "--workers", "1"]
        server = subprocess.Popen([*command, *places, *arguments], stdout=output, stderr=subprocess.STDOUT)
    try:
        while "models ready: " not in said.read_text():
            if server.poll() is not None:
                raise SystemExit(said.read_text())
            time.sleep(0.1)
        yield int(said.read_text().partition("127.0.0.1:")[2].split()[0])
    finally:
        server.terminate()
        server.wait(20)


def asked(port: int, models: tuple[str, ...], requests: int) -> Took:
    """Milliseconds of each request to each model, in order of their size."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    picture, took = DIGIT.read_bytes(), {model: [0.0] * 0 for model in models}
    for number in range(requests + 20):
        for model in models:
            began = time.perf_counter()
            connection.request("POST", f"/{model}/classify", picture, {"Content-Type": "image/png"})
            answer = json.loads(connection.getresponse().read())
            if answer.get("label") != "7":
                raise SystemExit(f"{model} answers {answer}")
            if number >= 20:
                took[model].append((time.perf_counter() - began) * 1000)
    connection.close()
    return {model: sorted(times) for model, times in took.items()}


def at_another_server(requests: int) -> Took:
    """By a worker here, and by the worker of a second server."""
    with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as here:
        for folder in (there, here):
            lenet(Path(folder), "lenet")
        with served(Path(there), "-m", "lenet") as port:
            Path(here, "models", "far").mkdir()
            Path(here, "models", "far", "model.toml").write_text(MANIFEST.format(port=port))
            with served(Path(here), "-m", "lenet", "--preload", "far") as front:
                return asked(front, ("lenet", "far"), requests)


def on_a_cluster(requests: int) -> Took:
    """By a worker here, and by an actor on a node of Ray's."""
    with tempfile.TemporaryDirectory() as here, ray_cluster.RayCluster() as cluster:
        cluster.add_node(1)
        lenet(Path(here), "far")
        with (lenet(Path(here), "lenet") / "model.toml").open("a") as manifest:
            manifest.write('\n[cluster]\nwhere = "here"\n')
        clustered = ("--cluster", cluster.address, "-m", "far", "--preload", "lenet")
        with served(Path(here), *clustered, python=ray_cluster.PYTHON) as front:
            return asked(front, ("lenet", "far"), requests)


def lenet(folder: Path, name: str) -> Path:
    """Our model of digits, among the models of a server."""
    return Path(shutil.copytree(ROOT / "models" / "lenet", folder / "models" / name))


def told(way: str, took: Took) -> float:
    """Print how long requests took; what the hop adds at the 95th percentile, in milliseconds."""
    print(f"{way:>22} {'p50 ms':>8} {'p95 ms':>8}")
    p95 = {}
    for model, name in (("lenet", "here"), ("far", "elsewhere")):
        times = took[model]
        p95[model] = times[int(len(times) * 0.95)]
        print(f"{name:>22} {times[len(times) // 2]:>8.1f} {p95[model]:>8.1f}")
    added = p95["far"] - p95["lenet"]
    print(f"the hop adds {added:.1f} ms at the 95th percentile; {MOST:g} are the mark")
    return added


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400, help="to each model")
    parser.add_argument("--check", action="store_true", help="fail when the mark is missed")
    options = parser.parse_args()
    added = [told("at a second server", at_another_server(options.requests))]
    if reason := ray_cluster.lacking():
        print(f"not asked: {reason}")
    else:
        added.append(told("on a cluster of Ray's", on_a_cluster(options.requests)))
    return 1 if options.check and max(added) > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
