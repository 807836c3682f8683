"""Triton kernels for NVIDIA GPUs: the programs of a step, and the captured graphs that run them.

It may import ``engine.model``. Importing it needs neither Triton nor a GPU; running a program needs both, or Triton's
interpreter.
"""
