"""Training of codecs, in its last stage against an adversary.

It may import ``training.data`` and ``training.tokens``.
"""
