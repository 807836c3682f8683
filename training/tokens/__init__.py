"""Tokens of prepared audio, which models learn from: codes, slices, what follows a frame, and random crops of them.

It may import ``training.data`` and ``training.measures.figures``.
"""
