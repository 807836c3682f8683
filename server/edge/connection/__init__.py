"""Keeps the state of one HTTP connection: unparsed bytes, progress of its request, clocks and bounds.

It may import nothing but ``server.errors``.
"""
