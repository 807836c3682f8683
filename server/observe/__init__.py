"""Writes what operators see: logs and their limit, metrics, traces, and how late the event loop is.

Every room may import it.
"""
