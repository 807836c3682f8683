"""Decides who may start a stream, and counts what clients make the server hold.

It may import ``server.access`` and ``server.link``; routes and sessions ask it.
"""
