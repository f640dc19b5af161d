"""Takes 20 ms for a batch of any size, and no processor."""

import time


class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        time.sleep(0.02)
        return [{"label": "pause", "score": 1.0, "labels": []} for _picture in batch]
