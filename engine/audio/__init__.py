"""Reads untrusted audio files: their limits, the two decoders, and the confined process in which the server decodes.

``whispergpt.engine.audio.audio_file`` is the way in. Modules here import one another, ``whispergpt.engine.config`` and
``whispergpt.engine.child``.
"""
