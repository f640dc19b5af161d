"""Engine.IO, generations 3 and 4: sessions over polling and WebSocket."""
