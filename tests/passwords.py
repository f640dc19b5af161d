"""Hashes of passwords that cost next to nothing, where their price is not the point."""

import argon2

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
