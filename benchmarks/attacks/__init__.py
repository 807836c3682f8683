"""Attacks on a real server over real sockets, and checks of how the server bears them.

``python -m whispergpt.benchmarks.attacks NAME`` runs one.
"""
