"""Attacks on a real server over real sockets, and what must hold meanwhile.

``python -m whispergpt.benchmarks.attacks NAME`` runs one.
"""
