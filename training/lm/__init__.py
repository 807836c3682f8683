"""Training and evaluation of models on a codec's codes: coarse codes, fine codes, and the model's own sound.

It may import ``training.data`` and ``training.tokens``.
"""
