"""Namespaces of the network, one for each front end, joined by a bridge of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable


class Network:
    """A bridge and namespaces at it, as a context; root alone may make them.

    All names have the number of this process in them, and the addresses come of it, so what another run has left behind
    is not in the way.

    Attributes:
        address: Of the bridge: where this machine itself is for the namespaces.
        network: All addresses.
        hosts: Addresses of the namespaces, by their names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._name = f"rig{os.getpid()}"
        start = f"10.77.{os.getpid() % 256}"
        self.address, self.network = f"{start}.1", f"{start}.0/24"
        self.hosts = {name: f"{start}.{number}" for number, name in enumerate(names, 11)}

    def __enter__(self) -> Network:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for name in self.hosts:
            _ip("link", "delete", self._name + name, check=False)  # both ends, also while a process is in there
            _ip("netns", "delete", self._name + name, check=False)
        _ip("link", "delete", self._name, check=False)

    def entering(self, name: str) -> list[str]:
        """What stands before a command that is to run in a namespace: it becomes the command.

        `ip netns exec` would mount another /sys besides, without the groups by which a server knows its memory.
        """
        return ["nsenter", f"--net=/run/netns/{self._name}{name}"]

    def _build(self) -> None:
        _ip("link", "add", self._name, "type", "bridge")
        _ip("address", "add", f"{self.address}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        for name, host in self.hosts.items():
            within = self._name + name
            _ip("netns", "add", within)
            _ip("link", "add", within, "type", "veth", "peer", "name", "eth0", "netns", within)
            _ip("link", "set", within, "master", self._name, "up")
            _ip("-n", within, "address", "add", f"{host}/24", "dev", "eth0")
            _ip("-n", within, "link", "set", "eth0", "up")
            _ip("-n", within, "link", "set", "lo", "up")


def _ip(*words: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"ip {' '.join(words)}: {done.stderr.strip()}")
