"""A server for the tests of REST: one for all that leave it as it was, over http and https, with a user."""

from pathlib import Path

import numpy as np
import pytest
import requests
from tests.running import ROOT, TEST_MODELS, Server

USER = ("test_nn", "lenet")


class RestServer(Server):
    """With `ask`, which is `requests` with base URL, credentials and certificate."""

    def __enter__(self):
        super().__enter__()
        self.data = Path(self.process.args[self.process.args.index("--data") + 1])
        self.models = Path(self.process.args[self.process.args.index("--models") + 1])
        self.session = requests.Session()
        self.session.auth = USER
        self.session.trust_env = False  # no proxies, no netrc
        return self

    def __exit__(self, *exception):
        self.session.close()
        super().__exit__(*exception)

    @property
    def ca(self):
        return str(self.data / "tls" / "cert.pem")

    @property
    def secure_url(self):
        return self.wait_for(r"https as well, on (https://\S+)$")[1]

    def ask(self, method, path, *, secure=False, timeout=100, **more):
        """A request; `secure` takes https and checks the certificate. Never follows a redirect."""
        url = self.secure_url if secure else self.url
        return self.session.request(
            method, url + path, verify=self.ca if secure else None, timeout=timeout, allow_redirects=False, **more
        )


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A models folder: LeNet and faces as they are shipped, and models made for tests."""
    folder = tmp_path_factory.mktemp("models")
    shipped = [ROOT / "models" / name for name in ("lenet", "faces", "xray-densenet")]
    for source in [*shipped, *(TEST_MODELS / name for name in ("echo", "slow", "chest", "echoer"))]:
        (folder / source.name).symlink_to(source)
    return folder


@pytest.fixture(scope="session")
def server(models, tmp_path_factory):
    """A server that nothing may change."""
    data = tmp_path_factory.mktemp("data")
    arguments = ("--user", ":".join(USER), "--https-port", "0", "--preload", "lenet,faces")
    with RestServer(*arguments, data=data, models=models) as found:
        found.wait_for("^models ready: ")
        yield found


@pytest.fixture(scope="session")
def digit():
    """A picture file of a 7, 28x28, light on dark, and its pixels."""
    import cv2

    from imageserver.training.lenet.data import as_mnist
    from imageserver.training.lenet.strokes import draw

    rng = np.random.default_rng(7)
    pixels = as_mnist(draw(7, 80, rng), rng)
    return cv2.imencode(".png", pixels)[1].tobytes(), pixels
