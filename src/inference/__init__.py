"""The inference engine: engine.py and wire.py for the server process, the rest for worker processes."""
