"""Serves ``/stream``: a WebSocket session with its prompt, its responses and its events.

It may import every other room but ``server.http``.
"""
