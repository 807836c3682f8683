"""Processor time of a listener in a front end: a real server, real listeners, and an engine that replays a recording.

May import ``engine``, ``server`` and ``load``, as all of ``benchmarks``.
"""
