"""Reads untrusted audio files: their limits, the two decoders, and the confined process in which the server decodes.

``engine.audio_file`` is the way in. Modules here import one another, ``engine.config`` and ``engine.child``.
"""
