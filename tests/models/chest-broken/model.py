"""Cannot be loaded."""


class Model:
    def __init__(self, folder, manifest):
        raise RuntimeError("it is broken")

    def predict(self, batch):
        raise NotImplementedError
