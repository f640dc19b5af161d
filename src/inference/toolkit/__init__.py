"""What the author of a model may import."""
