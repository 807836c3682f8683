"""Decides who may call: keys, callers with their limits, and the guard that tells who a connection is of.

It may import ``server.tokens`` and ``server.observe``.
"""
