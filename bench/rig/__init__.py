"""The parts of bench/everything.py: what it builds, who is there, and what is done to them."""
