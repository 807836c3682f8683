"""Feeds: the audio of one response, kept for some seconds and shared by any number of listeners.

It may import ``server.access``, ``server.admission``, ``server.audio`` and ``server.observe``.
"""
