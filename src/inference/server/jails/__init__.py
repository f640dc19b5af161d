"""Jails above the wall: which process has which rights, and what is done for those that have none."""
