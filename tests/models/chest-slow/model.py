"""Bright pictures have pneumonia; it takes a moment to say so."""

import time


class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        time.sleep(0.2)
        return [
            {"label": "pneumonia" if float(picture.mean()) > 127 else "normal", "score": 1.0, "labels": []}
            for picture in batch
        ]
