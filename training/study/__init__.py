"""Results for the paper's page: studies of context and of mel bands, curves and tables.

It may import ``training.lm``.
"""
