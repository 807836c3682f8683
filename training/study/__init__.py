"""Makes what the paper's page shows: studies of context and of mel bands, curves and tables.

It may import ``training.lm``.
"""
