"""Above the process wall: which models there are, what runs together, and the processes that run it."""
