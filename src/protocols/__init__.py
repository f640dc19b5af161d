"""What clients speak: a module or a package for each protocol. None imports another."""
