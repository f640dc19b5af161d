"""Everything that touches eventlet, engineio or socketio. Nothing else in the project may import those."""
