"""Messages between the server and the engine's process: msgpack on a socket, validated, never pickled.

They need the engine's plain structures alone. `streams`, `process`, `engine.py` and the server import them.
"""
