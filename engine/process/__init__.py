"""Runs the engine as a process of its own: its loop and its commands.

The server starts it and does not import it.
"""
