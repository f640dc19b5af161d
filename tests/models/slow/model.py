"""Takes 100 ms for a batch, whatever is in it."""

import time


class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        time.sleep(0.1)
        return [{"label": str(round(float(picture.mean()))), "score": 1.0, "labels": []} for picture in batch]
