"""Training by preference: a model learns which of its own continuations a judge prefers.

``judges`` score continuations, ``draws`` makes the examples, and ``train_preference`` learns from them. Only ``cli``
imports this package.
"""
