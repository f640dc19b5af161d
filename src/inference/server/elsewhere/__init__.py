"""Models that run on other machines, as the server process sees them: a worker of another kind, and its figures."""
