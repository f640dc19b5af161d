"""Which jail each kind of process has: models and their cache are readable, a model's manifest may ask for more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere.cluster import ClusterAddress
from imageserver.inference.shared.manifest import Manifest, Permissions
from imageserver.jail.rules import GIB, Jail

NAMES = 53
"""The port that the names of hosts are looked up at, where that is not done by UDP."""

WINDOWS = Jail(
    enforced=False, variables=("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_*", "QT_*", "LIBGL_*", "XKB_*")
)
"""The display process draws on a person's screen, which is more than any jail could hold back."""

FETCHING = (
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "KERAS_HOME",
)  # fmt: skip
"""Variables for a process that fetches something before it goes into its jail."""


RAY_FILES = ("RAY_AUTH_TOKEN_PATH", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
"""Variables that name a file which Ray reads."""
RAY_TOKEN = ".ray/auth_token"
"""Where its token lies in a home else."""
RAY_CURRENT = (os.path.join(os.environ.get("RAY_TMPDIR", "/tmp/ray"), "ray_current_cluster"),)
"""Where it says which cluster this machine is of."""
RAY_MEMORY = GIB
"""Address space of its libraries, beside what every worker may have."""


class Jails:
    """Makes them.

    Args:
        folders: those of the models; they are made where they are missing.
        cache: the folder of converted models, made as well.
        memory: bytes that a process may have of its own; 0 is no limit.
        enforced: False: nothing is restricted.
        cluster: where models run that may; None: on this machine.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        cache: Path,
        *,
        memory: int = 0,
        enforced: bool = True,
        cluster: ClusterAddress | None = None,
    ) -> None:
        self._folders, self.cache, self.enforced = folders, cache, enforced
        self._memory, self._cluster = memory, cluster
        for folder in (*folders, cache):
            # What is not there when a process goes into its jail stays out of its reach when it comes.
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def cluster_of(self, manifest: Manifest) -> ClusterAddress | None:
        """The cluster where this model runs; None: not there."""
        return self._cluster if manifest.movable else None

    def shared(self) -> Jail:
        """Of a worker that runs the models that ask for nothing special."""
        return Jail(enforced=self.enforced, read=self._readable(), memory=self._memory)

    def pictures(self) -> Jail:
        """Of a process that decodes pictures and runs no model."""
        return Jail(enforced=self.enforced, memory=self._memory)

    def own(self, manifest: Manifest) -> Jail:
        """Of a worker for this one model. One that runs elsewhere is reached by the ports of its endpoints alone."""
        if remote := manifest.runtime.remote:
            read = (*self._readable(), str(manifest.folder), *map(str, remote.files))
            ports = {address.port for address in remote.addresses}
            return replace(self.shared(), read=read, network=True, connect=(*sorted(ports), NAMES))
        if cluster := self.cluster_of(manifest):
            return self._asking(cluster, manifest)
        wishes = manifest.permissions or Permissions()
        read = (*self._readable(), str(manifest.folder), *wishes.read)
        memory = int(wishes.memory_gib * GIB) if wishes.memory_gib and self._memory else self._memory
        return replace(self.shared(), read=read, memory=memory, network=wishes.network, processes=wishes.processes)

    def _asking(self, cluster: ClusterAddress, manifest: Manifest) -> Jail:
        """Of a process that has a model run on the cluster: no code of the model is in it."""
        named = [os.environ[name] for name in RAY_FILES if os.path.isabs(os.environ.get(name, ""))]
        read = (
            *self._readable(),
            str(manifest.folder),
            *named,
            str(Path.home() / RAY_TOKEN),
            *(RAY_CURRENT if cluster.auto else ()),
        )
        memory = self._memory and self._memory + RAY_MEMORY + manifest.placement.most * wire.SLOTS * wire.SLOT_BYTES
        return Jail(
            enforced=self.enforced,
            read=tuple(path for path in read if os.path.exists(path)),
            memory=memory,
            network=True,
            connect=(cluster.port, NAMES),
            variables=("RAY_*", "GRPC_*"),
        )

    def conversion(self, folder: Path, room: Path) -> Jail:
        """Of the process that converts the model in `folder` and puts it into `room`."""
        shared = self.shared()
        return replace(shared, read=(*shared.read, str(folder)), write=(str(room),), largest_file=0)

    def training(self, read: Sequence[Path], write: Path) -> Jail:
        """Of a training that reads its data, writes a version of a model, and converts it for the cache."""
        shared = self.shared()
        paths = (*shared.read, *map(str, read))
        write_too = (str(write), str(self.cache))
        return replace(shared, read=paths, write=write_too, largest_file=0, variables=FETCHING)

    def reaches(self, jail: Jail, folder: Path) -> bool:
        """Whether a worker in this jail can read a model's folder. Links were followed when the jail was made."""
        real = folder.resolve()
        return not jail.enforced or any(real.is_relative_to(path) for path in jail.read)

    def _readable(self) -> tuple[str, ...]:
        """The models' folders and the cache, and where links in them lead: a model's folder may lie elsewhere."""
        found = []
        for folder in self._folders:
            found.append(folder.resolve())
            with contextlib.suppress(OSError):
                links = [entry.path for entry in os.scandir(folder) if entry.is_symlink()]
                found += [Path(link).resolve() for link in links if os.path.isdir(link)]  # not one to itself
        return (*dict.fromkeys(map(str, found)), str(self.cache))


def granted(manifest: Manifest) -> str:
    """What a model's manifest asks for, as a log line goes on: "; its code may read /srv/faces"; "" for nothing.

    Of one that runs elsewhere: where.
    """
    if remote := manifest.runtime.remote:
        return f"; it runs at {', '.join(map(str, remote.addresses))}"
    wishes = manifest.permissions or Permissions()
    parts = []
    if wishes.read:
        parts.append(f"read {', '.join(wishes.read)}")
    if wishes.network:
        parts.append("use the network")
    if wishes.processes:
        parts.append("start programs")
    if wishes.memory_gib:
        parts.append(f"take {wishes.memory_gib:g} GiB of memory")
    return "; its code may " + " and ".join(parts) if parts else ""
