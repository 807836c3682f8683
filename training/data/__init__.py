"""Prepared audio, and random crops of its sound and its tokens.

It may import the engine.
"""
