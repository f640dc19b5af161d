"""How the shipped models were trained, and the job that trains on request. Nothing that serves imports it."""
