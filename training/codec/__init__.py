"""Trains codecs, at last against an adversary.

It may import ``training.data``.
"""
