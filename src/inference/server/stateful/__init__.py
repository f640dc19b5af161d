"""Models that keep state from frame to frame: a worker for each, a queue for each session."""
