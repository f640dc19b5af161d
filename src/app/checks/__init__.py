"""Whether a server could start with its settings, and what would not work: found without a start, changing nothing."""
