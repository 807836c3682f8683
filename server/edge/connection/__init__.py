"""Holds what one HTTP connection keeps: its unparsed bytes, how far its request is, its clocks and its bounds.

It may import nothing but ``server.errors``.
"""
