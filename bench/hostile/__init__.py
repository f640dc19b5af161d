"""What bench/attacks.py sends: each module a kind of attack, all on bare sockets, so that nothing polite is between."""
