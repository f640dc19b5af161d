"""A WebSocket that tells devices to take a picture, and the pictures that they put."""
