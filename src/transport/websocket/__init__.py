"""WebSocket: the wire format, and a connection that speaks it."""
