"""ImageServer: camera frames in, predictions out. docs/architecture.md walks through the folders."""

__version__ = "0.2.0"
