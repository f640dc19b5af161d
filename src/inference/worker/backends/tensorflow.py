"""Models executed by TensorFlow: where conversion does not work, the manifest asks for it, or there is a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.slim import tensorflow


class TensorFlow:
    """A `Backend`. Importing TensorFlow costs 2 s and half a GiB, so it happens here, at the first such model."""

    def __init__(self, manifest: Manifest, threads: int) -> None:
        tensorflow.require(f"the model {manifest.name!r}")
        _configure(threads)
        from imageserver.inference.worker.backends.keras import load_function

        self._function = load_function(manifest)
        self.text = "tensorflow"
        self.outputs: tuple[str, ...] = self._function.names or ("",)
        self.single = False
        self.features = 0

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        return self.run_all(batch)[0]

    def run_all(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        import tensorflow as tf

        found = self._function(tf.constant(batch))
        return [np.asarray(output) for output in (found if self._function.names else [found])]


def _configure(threads: int) -> None:
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for device in tf.config.list_physical_devices("GPU"):
            # Several workers share the device; by default the first would take all of its memory.
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        return  # TensorFlow runs already: an earlier model has set the same
