"""Triton kernels for NVIDIA GPUs: the programs of a step, and the captured graphs that run them.

This folder imports ``model``. Importing it needs neither Triton nor a GPU; running it needs both, or Triton's interpreter.
"""
