"""Bright pictures have pneumonia."""


class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        return [self._result(float(picture.mean()) / 255) for picture in batch]

    def _result(self, score):
        found = [{"label": "pneumonia", "score": score}, {"label": "normal", "score": 1 - score}]
        found.sort(key=lambda label: -label["score"])
        return {**found[0], "labels": found}
