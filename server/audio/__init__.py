"""Turns samples into what clients hear: formats, live PCM, and playback in real time.

Uploads are decoded in ``whispergpt.server.decoding``.
"""
