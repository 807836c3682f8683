"""Runs the frame step and takes prompts in, by compiled kernels, CUDA graphs or torch.

It may import the model and ``whispergpt.engine.native``.
"""
