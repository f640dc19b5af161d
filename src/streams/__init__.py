"""A stream is one source of frames. Protocols offer frames to it, whoever subscribed gets the results."""
