"""Chest X-rays over plain TCP, for clients that cannot change."""
