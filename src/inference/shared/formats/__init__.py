"""Files of networks: which formats there are, and what their bytes name before a runtime opens them. No runtime."""
