"""Training by preference: a model learns which of its own continuations a judge prefers.

``judges`` score continuations, ``draws`` makes the examples, ``pairs`` deals them out, and ``train_preference`` learns.
"""
