"""The HTTP and WebSocket server in front of the engine's process."""
