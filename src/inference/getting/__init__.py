"""Models from elsewhere: an index of them, and the way of a file from its place into a model's folder.

What an index names is checked for its size and SHA-256 before anything opens it, so it may come from anywhere: its own
address, a mirror, a folder. Standard library only.
"""
