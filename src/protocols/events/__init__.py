"""What all protocols over Socket.IO stand on: who each client is, which events it may send, how answers are written."""
