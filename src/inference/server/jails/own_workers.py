"""Which models have a worker of their own: those with a `[jail]` in their manifest, those out of the others' reach, and
those that run elsewhere.

What a model asks for would widen the jail of every model beside it; so none is beside it. While a newer version of it
loads there are two: the former one serves until then. `workers` are in the order in which they started.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.worker import SharedWorker
from imageserver.inference.shared.manifest import Manifest


class OwnWorkers:
    """Decides for each model when it is to be loaded, and stays with that until it is to be loaded anew."""

    def __init__(self, jails: Jails) -> None:
        self._jails = jails
        self._names: set[str] = set()

    def choose(self, manifest: Manifest, workers: Iterable[SharedWorker]) -> bool:
        """Whether it is to have one, as the jails of `workers` now stand."""
        folders = [manifest.folder, *(manifest.folder.parent / member for member in manifest.members)]
        shared = [worker.jail for worker in workers if not worker.own]
        # A folder that was linked to after they had started: a jail cannot be widened.
        reached = all(self._jails.reaches(jail, folder) for jail in shared for folder in folders)
        elsewhere = manifest.runtime.remote is not None or self._jails.cluster_of(manifest) is not None
        alone = manifest.permissions is not None or elsewhere or not reached
        if alone:
            self._names.add(manifest.name)
        else:
            self._names.discard(manifest.name)
        return alone

    def alone(self, name: str) -> bool:
        """What was decided of the model `name`."""
        return name in self._names

    def serve(self, name: str, worker: SharedWorker, workers: Sequence[SharedWorker]) -> None:
        """The model serves from `worker` now: not any more from an earlier one of its own, or from those of all."""
        worker.loaded.add(name)
        worker.served = True
        for other in workers[: workers.index(worker)] if worker.own else workers:
            if other.own == name:
                other.retire()
        for other in workers if worker.own else ():
            if not other.own:
                other.unload(name)

    def leave_unserved(self, name: str, workers: Iterable[SharedWorker]) -> None:
        """A newer version is about to load: what never served of it has become superfluous."""
        for other in workers:
            if name and other.own == name and not other.served:
                other.retire()

    def takes(self, worker: SharedWorker, name: str) -> bool:
        """Whether `worker` is where the model `name` runs."""
        return worker.own == (name if name in self._names else "")


def newer_than(worker: SharedWorker, workers: Iterable[SharedWorker]) -> SharedWorker | None:
    """The worker of a later version of its model, where there is one; `worker` is one of `workers`."""
    if not worker.own:
        return None
    *_, last = (other for other in workers if other is worker or (other.own == worker.own and not other.retired))
    return None if last is worker else last
