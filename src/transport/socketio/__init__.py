"""Socket.IO, protocols 4 and 5, on our Engine.IO."""
