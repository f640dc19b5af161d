"""Where results go beside their own client. A sink never waits: a slow disk must not slow a camera."""
