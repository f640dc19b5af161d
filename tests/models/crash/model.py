"""Kills its own process, as a fault in a native library would; a blank picture, as in the warm-up, it survives."""

import os
import signal


class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        if any(picture.any() for picture in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        return [{"label": "alive", "score": 1.0, "labels": []} for _picture in batch]
