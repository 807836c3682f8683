"""Decodes uploads in processes that may do nothing else, by turns between callers; routes use ``DecoderPool`` alone.

Modules here import ``whispergpt.engine.audio`` and the server's settings and errors, and no route.
"""
