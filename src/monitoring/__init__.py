"""The page of figures, health, the status line."""
