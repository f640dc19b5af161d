"""MobileNetV2 of keras.applications.

After M. Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.

Takes float32 (n, 224, 224, 3), RGB, -1 to 1; gives float32 (n, 1000), probabilities of the classes of ImageNet.
"""

import keras


def build() -> keras.Model:
    """The architecture with random weights; those of ImageNet come from the file that the manifest names."""
    return keras.applications.MobileNetV2(input_shape=(224, 224, 3), weights=None)
