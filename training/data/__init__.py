"""Prepared audio, and random crops of its sound.

It may import the engine.
"""
