"""Answers with the mean grey value of each picture."""


class Model:
    def __init__(self, folder, manifest):
        pass

    def predict(self, batch):
        return [{"label": str(round(float(picture.mean()))), "score": 1.0, "labels": []} for picture in batch]
