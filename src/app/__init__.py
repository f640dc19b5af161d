"""Builds the parts of the server, listens, and shuts them down in order."""
