"""LeNet as it is served: two convolutions, two dense layers. Batch normalisation of the training is folded in.

After LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition" (1998),
wider, with max pooling and ReLU. Takes float32 (n, 28, 28, 1), 0 background to 1 ink; gives float32 (n, 10),
probabilities of 0 to 9.
"""

import keras
from keras import layers


def build() -> keras.Model:
    """The architecture, weights not loaded. `model.weights` is in the order of the numbered arrays in weights.npz."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(75, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(100, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="lenet",
    )
