"""Who may try to log in now: failures and pauses, and whose turn it is to be checked."""
