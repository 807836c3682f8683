"""Serves ``/v1/realtime``: the session of ``/stream`` for clients of OpenAI's Realtime API.

It may import every other room but ``server.http``; no room imports it.
"""
