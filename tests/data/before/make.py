"""Makes data.tar.gz: the data folder of a server of the version before this one.

    git worktree add --detach ../before d06b916
    (cd ../before; python <here>/make.py <here>/data.tar.gz)

Runs that version's own userdb.py and its own server, with a short training. The trained weights are then replaced by
zeros, and a bias for the 7, so that the folder is small and one sees which model answers.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import requests

SOURCE = Path.cwd() / "src"
sys.path.insert(0, str(SOURCE))
import bootstrap

bootstrap.provide_package()

PASSWORD = "the same for all\n"
USERS: dict[str, list[str]] = {
    "alice": [],
    "bob": ["--roles", "viewer"],
    "carol": ["--roles", "admin"],
    "test_nn": ["--roles", "camera,viewer,admin"],
    "Zoë Ärmel": ["--roles", "camera,viewer", "--model", "lenet", "--hz", "2.5", "--rotate", "90"],
}
PUT = [("alice", 1), ("test_nn", 1), ("alice", 1), ("Zoë Ärmel", 7), ("test_nn", 2**40)]
"""Who put a picture under which number, in this order."""


def main(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, models = folder / "data", folder / "models"
        data.mkdir()
        for user, options in USERS.items():
            command = [sys.executable, SOURCE / "userdb.py", "add", user, *options, "--data", data]
            subprocess.run(command, input=PASSWORD, text=True, check=True)
        shutil.copytree(SOURCE.parent / "models" / "lenet", models / "lenet")
        replace_weights(models / "lenet", {})  # whatever a training makes of it is better
        serve(data, models, drawn(folder / "mnist.npz"))
        (trained,) = (data / "models" / ".versions" / "lenet").glob("*/lenet")
        replace_weights(trained, {-1: np.eye(10, dtype=np.float32)[7]})
        with tarfile.open(archive, "w:gz") as file:
            file.add(data, "data")


def serve(data: Path, models: Path, digits: Path) -> None:
    """Let everybody put their pictures, and train once."""
    options = ["-a", "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off", "-m", "lenet", "--snippet-history", "3"]
    options += ["--training-samples", "128", "--mnist", digits, "--data", data, "--models", models]
    command = [sys.executable, SOURCE / "ImageServer.py", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    (url,) = re.findall(r"on (http://\S+)", process.stdout.readline())
    try:
        with np.load(digits) as file:
            pictures = 255 - file["x_test"]
        for number, (user, identity) in enumerate(PUT):
            picture = cv2.imencode(".png", pictures[number])[1].tobytes()
            login = (user.encode(), PASSWORD.strip())
            requests.put(f"{url}/snippets/{identity}/", data=picture, auth=login, timeout=60).raise_for_status()
        login = ("carol", PASSWORD.strip())
        requests.get(f"{url}/lenet/train", auth=login, timeout=60).raise_for_status()
        while requests.get(f"{url}/lenet/train/status", auth=login, timeout=60).status_code == 406:
            time.sleep(1)
    finally:
        process.terminate()
        process.communicate()


def drawn(path: Path) -> Path:
    """Drawn digits in the form of mnist.npz."""
    from imageserver.training.lenet.data import as_mnist
    from imageserver.training.lenet.strokes import draw

    rng = np.random.default_rng(0)
    labels = (np.arange(500) % 10).astype(np.uint8)
    x = np.stack([as_mnist(draw(int(label), 80, rng), rng) for label in labels])
    np.savez(path, x_train=x[:400], y_train=labels[:400], x_test=x[400:], y_test=labels[400:])
    return path


def replace_weights(folder: Path, given: dict[int, np.ndarray]) -> None:
    """Put zeros, or the arrays given by their place, into a model's weights."""
    path, manifest = folder / "weights.npz", folder / "model.toml"
    with np.load(path) as file:
        weights = {name: np.zeros_like(file[name]) for name in file.files}
    for place, array in given.items():
        name = list(weights)[place]
        assert weights[name].shape == array.shape, (name, weights[name].shape)
        weights[name] = array
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    np.savez_compressed(path, **weights)
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text("utf-8").replace(old, new), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
