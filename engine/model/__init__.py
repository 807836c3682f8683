"""Computes one frame: the hybrid model, the codec and the mel slice; ``frame_step`` joins them.

It may import ``whispergpt.engine.config`` alone.
"""
