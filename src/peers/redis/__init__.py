"""The way to Redis: the server's end (link, outbox), the process (process, connection), the wall between (wall)."""
