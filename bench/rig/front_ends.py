"""Three front ends in namespaces of their own, and nginx before them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.rig import model
from bench.rig.network import Network
from tests.deploy.front_ends import FrontEnds
from tests.ray_cluster import PYTHON
from tests.running import FRONT_DOOR, Server

PORT = 8080


class Namespaced(Server):
    """A server in a namespace, in the environment that has Ray.

    Args:
        entering: What stands before its command.
        host: Its address.
        arguments: Its command line.
        data: Its folder.
        models: The folder of models.
    """

    def __init__(self, entering: Sequence[str], host: str, *arguments: str, data: Path, models: Path) -> None:
        self.command = (*entering, PYTHON, *FRONT_DOOR[1:])
        self._host = host
        super().__init__(*arguments, "-i", host, "--tcp-port", "off", data=data, models=models, model=model.NAME)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{PORT}"


class NamespacedFrontEnds(FrontEnds):
    """Front ends in the namespaces of a network, all with the models in a folder; other arguments as there.

    Attributes:
        started: All servers that ever were.
    """

    def __init__(self, folder: Path, network: Network, models: Path, *options: str) -> None:
        super().__init__(folder, *options)
        self._network, self._models = network, models
        self.hosts, self.believed = network.hosts, network.address
        self.ports = dict.fromkeys(network.hosts, PORT)
        self.started: list[Server] = []

    def __exit__(self, *exception: object) -> None:
        for server in self.started:  # also one that never came to listen
            server.process.kill()
        super().__exit__(*exception)

    def server(self, name: str, *arguments: str, data: Path) -> Server:
        entering = self._network.entering(name)
        self.started.append(Namespaced(entering, self.hosts[name], *arguments, data=data, models=self._models))
        return self.started[-1]

    @property
    def urls(self) -> dict[str, str]:
        """Of all, also of those that do not run now."""
        return {name: f"http://{host}:{PORT}" for name, host in self.hosts.items()}
