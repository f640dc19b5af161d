"""REST, training, the Open Inference Protocol, and their description."""
