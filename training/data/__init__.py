"""Prepares audio, and draws crops of sound and of tokens from it.

It may import the engine.
"""
