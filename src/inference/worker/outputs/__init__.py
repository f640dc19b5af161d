"""From the tensors that a network gives to what was found: boxes, keypoints, vectors, values."""
