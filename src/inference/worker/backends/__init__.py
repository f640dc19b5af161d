"""Runtimes that execute a loaded model, a file each."""
