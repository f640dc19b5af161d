"""The HTTP listener, its connections, and how an application answers."""
