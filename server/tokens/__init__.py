"""Makes and opens what the server signs: socket tokens and resume tokens.

It may import the settings and errors.
"""
