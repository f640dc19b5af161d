"""What the tensors of a network mean: settings of a manifest, and what can be told by names and shapes."""
