"""Answers the HTTP routes: ``/continue``, ``/v1/play``, ``/v1/models``, health and pages.

It may import every other room but ``server.session``.
"""
