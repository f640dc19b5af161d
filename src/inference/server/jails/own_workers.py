"""Which models have a worker of their own: those with a `[jail]` in their manifest, those out of the others' reach, and
those that run elsewhere.

What a model asks for would widen the jail of every model beside it; so none is beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.model import ModelState, SharedModel
from imageserver.inference.server.worker import SharedWorker
from imageserver.inference.shared.manifest import Manifest


class OwnWorkers:
    """Decides for each model when it is to be loaded, and stays with that until it is to be loaded anew."""

    def __init__(self, jails: Jails) -> None:
        self._jails = jails
        self._names: set[str] = set()

    def choose(self, manifest: Manifest, workers: Iterable[SharedWorker]) -> bool:
        """Whether it is to have one, as the jails of `workers` now stand. Its own that never served retire."""
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
        for worker in workers:
            if worker.own == manifest.name and not worker.has_served:
                worker.retire()
        return alone

    def alone(self, name: str) -> bool:
        """What was decided of the model `name`."""
        return name in self._names

    def serves(self, worker: SharedWorker, model: SharedModel, workers: Sequence[SharedWorker]) -> bool:
        """`worker` has loaded its model: what served it until now gives way, but for a newer one of the model's own.

        Args:
            worker: Where the model runs.
            model: The model.
            workers: All, in the order in which they were started.

        Returns:
            Whether that is news: a former version that is reached again is none where another serves.
        """
        former = workers[: workers.index(worker)] if worker.own else workers
        worker.loaded.add(model.name)
        worker.has_served = True
        for other in [other for other in former if other.own == model.name]:
            other.retire()
            model.replacing = True  # also where it was told meanwhile that the new version cannot be reached
        for other in workers:
            if worker.own and not other.own:
                other.unload(model.name)
        return not self.is_followed(worker, workers) or model.state is not ModelState.READY

    def is_followed(self, worker: SharedWorker, workers: Sequence[SharedWorker]) -> bool:
        """Whether a newer version of the model of `worker` has one of its own, and is to take its place."""
        later = workers[workers.index(worker) + 1 :]
        return bool(worker.own) and any(other.own == worker.own and not other.retired for other in later)

    def takes(self, worker: SharedWorker, name: str) -> bool:
        """Whether `worker` is where the model `name` runs."""
        return worker.own == (name if name in self._names else "")
