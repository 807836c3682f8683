"""Trains and evaluates models on a codec's codes: coarse, fine, and on their own sound.

It may import ``training.data``.
"""
