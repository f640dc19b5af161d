"""Users of several front ends in PostgreSQL: a process of its own talks to it, and the server to that process."""
