"""Measures of sound, one a file: each takes samples and returns a figure.

Packages are imported by the function that uses them. It may import the engine.
"""
