"""Loads and saves models and codecs, installed ones and EnCodec's own, and refuses what does not fit.

It may import the model.
"""
