"""The chest X-ray networks. Importing this loads no Keras; `layers` does."""

NETWORKS = 5
"""In a member's committee. Network k is trained without fold k of its pictures."""
