"""Decides which streams step, and keeps what a stream is resumed from.

``scheduler`` has the rules. It may import the model and prompts.
"""
